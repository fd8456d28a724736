"""The interop files for signatures and did:keys against our keys (P7, P8, P84, P120)."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.keys import PublicKey, SigningKey

SHARED = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
CRYPTO = SHARED / "protocol" / "interop" / "atproto-interop-tests" / "crypto"
pytestmark = pytest.mark.skipif(not CRYPTO.exists(), reason=f"interop files are not at {CRYPTO}")


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((CRYPTO / name).read_text())
    assert found
    return found


def test_P7_P8_low_s_signatures_pass_and_high_s_or_der_are_refused_on_both_curves() -> None:
    for case in cases("signature-fixtures.json"):
        key = PublicKey.from_did_key(case["publicKeyDid"])
        message, sig = (base64.b64decode(case[name] + "==") for name in ("messageBase64", "signatureBase64"))
        assert key.verify(message, sig) == case["validSignature"], case["comment"]


def test_P84_did_keys_of_private_keys() -> None:
    for case in cases("w3c_didkey_K256.json"):
        assert SigningKey.from_hex(case["privateKeyBytesHex"]).public.did_key == case["publicDidKey"]
