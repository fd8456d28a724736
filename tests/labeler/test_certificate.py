"""Certificates of analyses: what they say, that anybody can verify them, that nothing else passes for one (P45)."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Analysis, Space, Tag
from core.dagcbor import encode
from core.keys import SigningKey
from core.label import Label
from core.nsids import RECORD_AUTHORITY
from earmark.lexicon import load_lexicons
from labeler.certificate import certify, millionths, verify_certificate
from labeler.signing import bytes_to_sign, sign
from tests.lexicons import check_value, find

KEY = SigningKey(bytes(range(1, 33)))
ISSUER = "did:plc:z72i7hdynmk6r22z27h6tvur"
AUDIO = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
KIND = f"{RECORD_AUTHORITY}.getAnalysis#certificate"
SOUND = np.linspace(-1, 1, 400, dtype=np.float32)
ANALYSIS = Analysis(
    packs={"musicnn": "ab" * 32},
    duration_seconds=200.1234,
    rms_dbfs=-14.0,
    tags=(Tag("ambient", "msd", 0.75), Tag("Größe – 音", "mtt", 1 / 3)),
    vectors={Space.MUSICNN_TAGS: np.zeros(100, np.float32), Space.MUSICNN_SOUND: SOUND},
)


def certificate(key: SigningKey = KEY) -> dict[str, Any]:
    """As it comes out of a JSON answer."""
    heard = certify(
        ANALYSIS, kind=KIND, issuer=ISSUER, audio=AUDIO, generation="g", heard_us=1_767_323_045_678_901, key=key
    )
    answer: dict[str, Any] = orjson.loads(orjson.dumps(heard))
    return answer


def document(key: SigningKey = KEY, id_: str = ISSUER + "#earmark_certificate") -> dict[str, Any]:
    methods = [
        {"id": f"{ISSUER}#atproto_label", "publicKeyMultibase": SigningKey(bytes(range(2, 34))).public.multikey},
        {"id": id_, "publicKeyMultibase": key.public.multikey},
    ]
    return {"id": ISSUER, "verificationMethod": methods}


def recipe() -> Callable[[dict[str, Any], str, dict[str, Any]], bool]:
    """The function in docs/lexicons.md, as a reader would copy it."""
    text = (Path(__file__).parents[2] / "docs" / "lexicons.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    space: dict[str, Any] = {}
    exec(code, space)
    found: Callable[[dict[str, Any], str, dict[str, Any]], bool] = space["verify"]
    return found


def test_it_says_what_was_heard_and_fits_its_lexicon() -> None:
    answer = certificate()
    said = answer["certificate"]
    assert (said["audio"], said["analysedAt"], said["durationMs"]) == (AUDIO, "2026-01-02T03:04:05.678Z", 200_123)
    assert said["scores"] == [
        {"tagger": "msd", "name": "ambient", "score": 750_000},
        {"tagger": "mtt", "name": "Größe – 音", "score": 333_333},
    ]
    hashed = {one["space"]: (one["dimensions"], one["sha256"]) for one in said["embeddings"]}
    assert hashed["musicnn-sound"] == (400, hashlib.sha256(SOUND.astype("<f4").tobytes()).hexdigest())
    documents = load_lexicons(RECORD_AUTHORITY)
    schema, home = find(f"{RECORD_AUTHORITY}.getAnalysis", "", documents)
    check_value(answer, schema["output"]["schema"], home, documents)


def test_the_same_analysis_always_gives_the_same_certificate() -> None:
    assert certificate() == certificate()


def test_anybody_can_verify_it_with_the_recipe_in_the_docs() -> None:
    answer, verify = certificate(), recipe()
    assert verify_certificate(answer, KEY.public)
    assert verify(answer, ISSUER, document())
    assert verify(answer, ISSUER, document(id_="#earmark_certificate"))  # relative ids are written too
    other = SigningKey(bytes(range(3, 35)))
    assert not verify(answer, ISSUER, document(other))
    assert not verify(answer, ISSUER, document(id_=ISSUER + "#atproto"))
    assert not verify(answer, "did:plc:somebodyelse222222222222", document())
    assert not verify(certificate(other), ISSUER, document())


@pytest.mark.parametrize("member", ["audio", "issuer", "analysedAt", "generation", "$type"])
def test_a_changed_certificate_is_refused(member: str) -> None:
    answer = certificate()
    answer["certificate"][member] += "x"
    assert not verify_certificate(answer, KEY.public)


def test_a_changed_score_and_a_changed_embedding_are_refused() -> None:
    for change in ({"scores": []}, {"embeddings": []}, {"durationMs": 1}, {"extra": True}):
        answer = copy.deepcopy(certificate())
        answer["certificate"] |= change
        assert not verify_certificate(answer, KEY.public)


def test_p45_a_signed_label_is_no_certificate_and_a_certificate_no_label() -> None:
    """Even under one key neither passes for the other: what is signed says what it is."""
    label = sign(Label(ISSUER, f"at://{ISSUER}/fm.plyr.track/t", "ambient", "2026-01-01T00:00:00.000Z"), KEY)
    assert label.sig is not None
    fields = {name: value for name, value in label.fields().items() if name != "sig"}
    assert encode(fields) == bytes_to_sign(label)
    borrowed = {"certificate": fields, "sig": {"$bytes": base64.b64encode(label.sig).decode()}}
    assert KEY.public.verify(encode(borrowed["certificate"]), label.sig)
    assert not verify_certificate(borrowed, KEY.public)
    assert not recipe()(borrowed, ISSUER, document())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.dictionaries(
        st.sampled_from(["certificate", "sig", "key"]), json_values | st.dictionaries(st.text(), json_values)
    )
)
def test_verifying_never_raises(answer: dict[str, Any]) -> None:
    assert not verify_certificate(answer, KEY.public)


@pytest.mark.parametrize(
    ("share", "told"), [(0.0, 0), (1.0, 1_000_000), (0.1234567, 123_457), (1.5, 1_000_000), (-1, 0)]
)
def test_millionths(share: float, told: int) -> None:
    assert millionths(share) == told
