"""The keys that this installation signs with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from core.config import Settings
from core.errors import Misconfigured
from core.keys import SigningKey
from core.sections import Certificates, Labeler
from labeler.label_key import load_label_key


@dataclass(frozen=True, slots=True)
class Keys:
    """`label` signs labels and nothing else, `certificate` what was heard (P45). None: not set."""

    label: SigningKey | None
    certificate: SigningKey | None


def load_keys(settings: Settings) -> Keys:
    """Reads the key files. Raises Misconfigured, also for one key in both places."""
    label, certificate = _load(settings.labeler, "labeler"), _load(settings.certificates, "certificates")
    if label is not None and certificate is not None and label.public == certificate.public:
        raise Misconfigured(
            "certificates.key_file",
            "is the label key, which signs labels only (P45); earmark labeler key new --certificate FILE makes another",
        )
    return Keys(label, certificate)


def load_cursor_key(folder: Path) -> bytes:
    """32 secret bytes that sign cursors of feeds and hide who said what in them.

    Made once and kept beside the store, never in it, so that cursors survive a restart.
    """
    path = folder / "cursor.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        path.touch(mode=0o600)
        path.write_bytes(key)
    return key


def _load(chosen: Labeler | Certificates, section: str) -> SigningKey | None:
    secret = chosen.key.get_secret_value() if chosen.key else None
    return load_label_key(file=chosen.key_file, value=secret, section=section)
