"""Messages of Jetstream to events: the same events as a relay's, no untyped error (P166-P169)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datamodel import to_json_form
from core.frames import BadFrame, ErrorFrame
from firehose.events import AccountEvent, Event, IdentityEvent, Interest, Operation, RecordEvent
from firehose.frames import decode_repo_frame
from firehose.jetevents import Told, decode_v1, decode_v2

MUSIC = Interest(frozenset({"fm.plyr.track"}))
WITH_POSTS = Interest(
    frozenset({"fm.plyr.track", "app.bsky.feed.post"}), {"app.bsky.feed.post": (b"plyr.fm", b"fm.plyr.track")}
)
DID = "did:plc:artist222222222222222222"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


NOW = 1_800_000_000_000_000


def told(text: str, interest: Interest = MUSIC) -> Told:
    return decode_v1(text, interest, now_us=NOW)


def event_of(text: str, interest: Interest = MUSIC) -> Event | None:
    return told(text, interest).event


def jet(**commit: Any) -> str:
    whole = {"rev": "3kaaaaaaaaaa2", "operation": "create", "collection": "fm.plyr.track", "rkey": "a"} | commit
    return json.dumps({"did": DID, "time_us": 1_700_000_000_000_000, "kind": "commit", "commit": whole})


def test_P167_both_wires_give_the_same_record(kit: Any) -> None:
    repo, record = kit.Repo(), kit.track_record()
    (relayed,) = decode_repo_frame(repo.frame(1, ("create", "fm.plyr.track/a", record)), MUSIC).events
    event = event_of(jet(cid=relayed.cid, record=to_json_form(record), rev=repo.rev))
    assert isinstance(event, RecordEvent)
    assert (event.record, event.cid, event.rev, event.uri) == (relayed.record, relayed.cid, relayed.rev, relayed.uri)
    assert not event.verified


def test_an_update_that_lost_its_needle_comes_without_record_on_both_wires(kit: Any) -> None:
    repo, path = kit.Repo(), "app.bsky.feed.post/3kaaaaaaaaaa2"
    repo.frame(1, ("create", path, {"text": "https://plyr.fm/track/1"}))
    (update,) = decode_repo_frame(repo.frame(2, ("update", path, {"text": "no link"})), WITH_POSTS).events
    assert (update.operation, update.record) == (Operation.UPDATE, None)
    post = {"collection": "app.bsky.feed.post", "cid": update.cid, "record": {"text": "no link"}}
    event = event_of(jet(**post, operation="update"), WITH_POSTS)
    assert isinstance(event, RecordEvent)
    assert (event.operation, event.record) == (Operation.UPDATE, None)
    assert event_of(jet(**post), WITH_POSTS) is None


def test_P167_the_other_kinds_of_message() -> None:
    base = {"did": DID, "time_us": 5}
    account = json.dumps(
        base | {"kind": "account", "account": {"active": False, "did": DID, "seq": 1, "status": "suspended"}}
    )
    assert event_of(account) == AccountEvent(DID, False, "suspended", 5, time_us=5)
    assert event_of(json.dumps(base | {"kind": "identity", "identity": {"did": DID}})) == IdentityEvent(DID, 5)
    assert told(json.dumps(base | {"kind": "mystery"})) == Told(5)
    assert isinstance(event_of(jet(operation="delete")), RecordEvent)


@pytest.mark.parametrize(
    "commit",
    [
        {"collection": "fm.plyr.dev.track"},
        {"rkey": "a/b", "cid": "x"},
        {"rev": "now"},
        {"operation": "merge"},
        {"cid": None, "record": {}},
        {"cid": "bafyfake", "record": {}},
    ],
)
def test_jetstream_commits_of_no_interest_or_against_the_rules_are_seen_only(commit: dict[str, Any]) -> None:
    assert event_of(jet(**commit)) is None


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"did":"x","time_us":1,"kind":"commit"}', "[" * 5000])
def test_jetstream_nonsense_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        told(text)


@given(st.dictionaries(st.sampled_from(["did", "time_us", "kind", "commit", "account"]), ANYTHING))
def test_jetstream_messages_of_nonsense_raise_only_typed_errors(message: dict[str, Any]) -> None:
    text = json.dumps({"did": DID, "time_us": 1, "kind": "commit"} | message, default=str)
    with contextlib.suppress(BadFrame):
        told(text, WITH_POSTS)


@given(
    st.sampled_from(["#commit", "#identity", "#account", "#sync", "#info", "#new"]),
    st.dictionaries(
        st.sampled_from(["did", "seq", "time", "rev", "operation", "cid", "record", "account", "sync", "name"]),
        ANYTHING,
    ),
)
def test_messages_of_nonsense_in_frames_raise_only_typed_errors(kind: str, payload: dict[str, Any]) -> None:
    known = {"$type": f"network.bsky.jetstream.subscribeEvents{kind}", "did": DID, "seq": 1}
    known |= {"time": "2026-01-01T00:00:00Z", "collection": "fm.plyr.track", "rkey": "a"}
    text = json.dumps({"$type": "message", "payload": known | payload}, default=str)
    with contextlib.suppress(BadFrame, ErrorFrame):
        decode_v2(text, WITH_POSTS, now_us=NOW)
