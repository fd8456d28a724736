"""The keys that this installation signs with, as its settings name them."""

from __future__ import annotations

from dataclasses import dataclass

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


def _load(chosen: Labeler | Certificates, section: str) -> SigningKey | None:
    secret = chosen.key.get_secret_value() if chosen.key else None
    return load_label_key(file=chosen.key_file, value=secret, section=section)
