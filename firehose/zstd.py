"""Messages compressed with a zstd dictionary that both sides have (P166)."""

from __future__ import annotations

from pathlib import Path

import zstandard

from core.errors import Misconfigured
from core.frames import BadFrame

MAX_DICTIONARY_BYTES = 16_000_000
MAX_WINDOW_BYTES = 8 * 1024 * 1024  # what every decoder must support (RFC 8878 section 3.1.1.1.2)


class Inflater:
    """Opens compressed messages, each a frame of its own. Holds the dictionary and no message."""

    def __init__(self, dictionary: bytes, *, max_bytes: int) -> None:
        """`max_bytes` bounds an opened message. Raises ValueError for what is no dictionary with an id."""
        try:
            loaded = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
            self._opener = zstandard.ZstdDecompressor(dict_data=loaded, max_window_size=MAX_WINDOW_BYTES)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        self.dictionary_id = loaded.dict_id()
        if self.dictionary_id == 0:
            raise ValueError("it has no dictionary id")
        self._max_bytes = max_bytes

    @classmethod
    def load(cls, path: Path, *, max_bytes: int) -> Inflater:
        """From a file. Raises Misconfigured."""
        try:
            with path.open("rb") as file:
                dictionary = file.read(MAX_DICTIONARY_BYTES + 1)
        except OSError as error:
            raise Misconfigured("source.zstd_dictionary", f"{path} cannot be read ({error.strerror})") from None
        if len(dictionary) > MAX_DICTIONARY_BYTES:
            raise Misconfigured("source.zstd_dictionary", f"{path} is larger than any dictionary")
        try:
            return cls(dictionary, max_bytes=max_bytes)
        except ValueError as error:
            raise Misconfigured("source.zstd_dictionary", f"{path} is no zstd dictionary: {error}") from None

    def open(self, data: bytes) -> bytes:
        """The message in a frame. Raises BadFrame for anything else, and for one that would be too large."""
        try:
            size = zstandard.frame_content_size(data)  # -1: not said; it decides how much is allocated
            if size > self._max_bytes:
                raise BadFrame(f"a compressed message of {size} bytes")
            return self._opener.decompress(data, max_output_size=self._max_bytes, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise BadFrame(f"not a zstd frame: {str(error)[:200]}") from None
