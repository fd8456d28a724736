"""Where the label key comes from: a file or the environment; it never shows in a log or an error text (P44)."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from core.errors import Misconfigured
from core.keys import BadKey, SigningKey


def load_label_key(*, file: Path | None = None, value: str | None = None) -> SigningKey | None:
    """The k256 key written as 64 hexadecimal digits in `file`, or given as `value` (from the environment).

    None when neither is set. A file that others may read is used with a warning. Raises Misconfigured.
    """
    if value:
        return _parse(value, "labeler.key")
    if file is None:
        return None
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            "labeler.key_file", f"cannot read {file} ({type(error).__name__}); name a file with 64 hexadecimal digits"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logging.getLogger(__name__).warning("%s can be read by others; run: chmod 600 %s", file, file)
    return _parse(text, "labeler.key_file")


def _parse(text: str, setting: str) -> SigningKey:
    try:
        return SigningKey.from_hex(text)
    except BadKey as error:
        raise Misconfigured(setting, str(error)) from None
