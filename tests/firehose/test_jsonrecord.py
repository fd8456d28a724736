"""Records as JSON get the CID that their content has (P172)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.dagcbor import cid_of, encode
from core.types import parse_did
from earmark.demo.datamodel import from_json
from firehose.events import Interest, Operation
from firehose.jsonrecord import MAX_JSON_BYTES, ToldRecord, cid_of_record, record_event

TRACKS, POSTS = "fm.plyr.track", "app.bsky.feed.post"
DID = parse_did("did:plc:artist222222222222222222")
OTHER = parse_did("did:plc:other2222222222222222222")
CID = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
INTEREST = Interest(frozenset({TRACKS, POSTS}), {POSTS: (b"plyr.fm",)}, own=frozenset({TRACKS}), followed={DID})


def told(raw: bytes, cid: str | None = CID, **fields: Any) -> ToldRecord:
    known = {"rev": "3kaaaaaaaaaa2", "operation": "create", "collection": POSTS, "rkey": "a"} | fields
    return ToldRecord(**known, record=msgspec.Raw(raw), cid=cid)


def event_of(*args: Any, did: Any = DID, verified: bool = True, **fields: Any) -> Any:
    return record_event(did, told(*args, **fields), 1, INTEREST, verified=verified)


@pytest.mark.parametrize(
    "record",
    [
        {"$type": POSTS, "text": "é", "n": -5, "deep": [None, True, {"a": []}]},
        {"ref": {"$link": CID}, "bytes": {"$bytes": "AAECAw"}, "padded": {"$bytes": "AAECAw=="}},
    ],
)
def test_P172_the_cid_is_that_of_the_dag_cbor(record: dict[str, Any]) -> None:
    assert cid_of_record(record) == cid_of(encode(from_json(record)))


@pytest.mark.parametrize(
    "record", [{"ref": {"$link": "nothing"}}, {"ref": {"$link": 1}}, {"b": {"$bytes": "ä"}}, {"n": 2**70}]
)
def test_what_is_not_in_the_data_model_has_no_cid(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        cid_of_record(record)


def test_P172_only_the_told_cid_leaves_a_record_verified() -> None:
    raw = b'{"$type":"app.bsky.feed.post","text":"https://plyr.fm/track/1"}'
    own = cid_of_record({"$type": POSTS, "text": "https://plyr.fm/track/1"})
    right, wrong = event_of(raw, own), event_of(raw, CID)
    assert (right.cid, right.verified) == (own, True)
    assert (wrong.cid, wrong.verified, wrong.record) == (own, False, right.record)
    assert not event_of(raw, own, verified=False).verified


@pytest.mark.parametrize("raw", [b'"plyr.fm"', b'["plyr.fm"]', b'{"plyr.fm": ' + b"[" * 200 + b"]" * 200 + b"}"])
def test_a_record_that_is_no_map_or_nests_too_deeply_cannot_be_read(raw: bytes) -> None:
    event = event_of(raw)
    assert (event.record, event.cid) == (None, CID)


def test_needles_and_owners_are_asked_before_anything_is_decoded() -> None:
    assert event_of(b'{"text":"nothing"}') is None
    gone = event_of(b'{"text":"nothing"}', operation="update")
    assert (gone.operation, gone.record) == (Operation.UPDATE, None)
    assert event_of(b"{}", collection=TRACKS, did=OTHER) is None
    assert event_of(b"", None, collection=TRACKS, did=OTHER, operation="delete") is None
    assert event_of(b"", None, collection=TRACKS, operation="delete").record is None


@pytest.mark.parametrize(
    "fields",
    [{"rev": "late"}, {"operation": "invented"}, {"rkey": "a/b"}, {"cid": "bafy"}, {"cid": None}, {"collection": "x"}],
)
def test_what_breaks_a_rule_of_the_network_is_no_event(fields: dict[str, Any]) -> None:
    assert event_of(b'{"t":"plyr.fm"}', **fields) is None


def test_P137_a_record_has_a_size() -> None:
    assert event_of(b'{"t":"plyr.fm' + b"x" * MAX_JSON_BYTES + b'"}') is None
