"""Where our keys lie: a file or the environment; a secret never shows in a log or an error text (P44)."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from pathlib import Path

from core.errors import Misconfigured
from core.keys import BadKey, SigningKey


def load_label_key(
    *, file: Path | None = None, value: str | None = None, section: str = "labeler"
) -> SigningKey | None:
    """The k256 key written as 64 hexadecimal digits in `file`, or given as `value` (from the environment).

    `section` is that of the settings, for the error text. None when neither is set. A file that others may read is
    used with a warning. Raises Misconfigured.
    """
    if value:
        return _parse(value, f"{section}.key")
    if file is None:
        return None
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"{section}.key_file",
            f"cannot read {file} ({type(error).__name__}); earmark labeler key new makes a key",
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logging.getLogger(__name__).warning("%s can be read by others; run: chmod 600 %s", file, file)
    return _parse(text, f"{section}.key_file")


def make_key(file: Path) -> SigningKey:
    """A new key in a new file that its user alone may read. Raises Misconfigured if there is a file already."""
    secret = secrets.token_bytes(32)
    key = SigningKey(secret)  # all but one in 2**128 are keys
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured(str(file), "is there already, and no key is ever overwritten; name another file") from None
    except OSError as error:
        raise Misconfigured(str(file), f"cannot be made ({error.strerror}); name a file in a folder of yours") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secret.hex() + "\n")
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        file.unlink(missing_ok=True)  # half a key would be in the way of the next try
        raise Misconfigured(str(file), f"cannot be written ({error.strerror}); make room") from None
    return key


def switch_key(file: Path, successor: Path) -> Path:
    """Put `successor` in the place of `file`, in one step; what was there is kept beside it. Returns where.

    Raises Misconfigured.
    """
    kept = file.with_name(f"{file.name}.old")
    try:
        kept.unlink(missing_ok=True)
        kept.hardlink_to(file)
        successor.replace(file)
    except OSError as error:
        raise Misconfigured(
            str(file), f"cannot be replaced ({error.strerror}); put {successor} there by hand before the next start"
        ) from None
    return kept


def _parse(text: str, setting: str) -> SigningKey:
    try:
        return SigningKey.from_hex(text)
    except BadKey as error:
        raise Misconfigured(setting, str(error)) from None
