"""Texts to token ids, by the byte-level BPE of CLAP's text tower (RoBERTa's)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.child.selftest import PackUnfit

LIMIT = 77  # tokens with both ends, as the tower was trained
_CHARACTERS = 1000  # no word list has 77 tokens of more; a megabyte in one word would take seconds to merge
_START, _PAD, _END = 0, 1, 2


class Tokens:
    """A `tokenizer.json` in RoBERTa's layout: <s> 0, <pad> 1, </s> 2."""

    def __init__(self, path: Path) -> None:
        """Raises PackUnfit."""
        from tokenizers import Tokenizer  # noqa: PLC0415  (30 MB that only a text child needs)

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise PackUnfit("clap", f"{path.name} cannot be read ({error})") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LIMIT)
        if self._tokenizer.encode("").ids != [_START, _END] or self._tokenizer.token_to_id("<pad>") != _PAD:
            raise PackUnfit("clap", f"{path.name} is not in the layout of the text model")

    def encode(self, text: str) -> NDArray[np.int64]:
        """int64 [1, t], t from 2 to 77. Of a long text only the beginning counts; half a surrogate becomes `?`."""
        whole = text[:_CHARACTERS].encode("utf-8", "replace").decode()
        return np.array([self._tokenizer.encode(whole).ids], np.int64)
