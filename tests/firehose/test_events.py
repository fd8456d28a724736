"""Frames to events: filter first, limits, no untyped error (P134-P141)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import encode
from core.frames import BadFrame, ErrorFrame, split_frame
from core.xrpc import error_frame, message_frame
from firehose.events import AccountEvent, IdentityEvent, Interest, Operation
from firehose.frames import decode_repo_frame

FRAMES = json.loads((Path(__file__).parents[1] / "vectors" / "stream-frames.json").read_text())
MUSIC = Interest(frozenset({"fm.plyr.track"}))
WITH_POSTS = Interest(
    frozenset({"fm.plyr.track", "app.bsky.feed.post"}), {"app.bsky.feed.post": (b"plyr.fm", b"fm.plyr.track")}
)
DID = "did:plc:artist222222222222222222"


@pytest.mark.parametrize("name", FRAMES["invalid"])
def test_P135_invalid_frames_drop_the_connection(name: str) -> None:
    with pytest.raises(BadFrame):
        split_frame(bytes.fromhex(FRAMES["invalid"][name]))


@pytest.mark.parametrize("name", [name for name in FRAMES["valid"] if not name.startswith("error")])
def test_P63_valid_frames_split(name: str) -> None:
    frame = split_frame(bytes.fromhex(FRAMES["valid"][name]))
    assert frame is not None
    assert frame[0] in ("#labels", "#info")


@pytest.mark.parametrize("name", FRAMES["ignorable"])
def test_P135_ignorable_frames_yield_nothing(name: str) -> None:
    decoded = decode_repo_frame(bytes.fromhex(FRAMES["ignorable"][name]), MUSIC)
    assert decoded is None or isinstance(decoded, int)


@pytest.mark.parametrize("name", [name for name in FRAMES["valid"] if name.startswith("error")])
def test_P64_error_frames_are_told_apart_by_name(name: str) -> None:
    with pytest.raises(ErrorFrame) as caught:
        decode_repo_frame(bytes.fromhex(FRAMES["valid"][name]), MUSIC)
    assert caught.value.name in ("FutureCursor", "ConsumerTooSlow", "InternalServerError")


def test_a_commit_becomes_record_events_in_json_form(kit: Any) -> None:
    repo = kit.Repo()
    frame = repo.frame(7, ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record(extra=b"\x00\xff")))
    decoded = decode_repo_frame(frame, MUSIC)
    (event,) = decoded.events
    assert (decoded.position, event.did, event.rkey, event.rev) == (7, repo.did, "3kaaaaaaaaaa2", repo.rev)
    assert event.operation is Operation.CREATE
    assert event.record["audioBlob"]["ref"] == {"$link": kit.cid_of(b"sound", 0x55)}
    assert event.record["extra"] == {"$bytes": "AP8"}
    assert event.cid == kit.cid_of(encode(kit.track_record(extra=b"\x00\xff")))


def test_update_and_delete(kit: Any) -> None:
    repo = kit.Repo()
    path = "fm.plyr.track/3kaaaaaaaaaa2"
    repo.frame(1, ("create", path, kit.track_record()))
    (update,) = decode_repo_frame(repo.frame(2, ("update", path, kit.track_record(b"other"))), MUSIC).events
    (delete,) = decode_repo_frame(repo.frame(3, ("delete", path, None)), MUSIC).events
    assert (update.operation, delete.operation, delete.cid, delete.record) == ("update", "delete", None, None)


def test_P134_commits_of_no_interest_are_not_looked_into(kit: Any) -> None:
    body = kit.Repo().body(1, ("create", "app.bsky.feed.like/3kaaaaaaaaaa2", {"$type": "app.bsky.feed.like"}))
    decoded = decode_repo_frame(message_frame("#commit", body | {"blocks": b"garbage"}), MUSIC)
    assert decoded == 1


def test_exact_collections_never_prefixes(kit: Any) -> None:
    """`fm.plyr.dev.track` and `fm.plyr.tracks` are not ours (LEXICONS 3.7)."""
    repo = kit.Repo()
    for seq, name in enumerate(("fm.plyr.dev.track", "fm.plyr.tracks", "fm.plyr")):
        frame = repo.frame(seq, ("create", f"{name}/3kaaaaaaaaaa2", kit.track_record()))
        assert decode_repo_frame(frame, MUSIC) == seq


def test_posts_are_decoded_only_if_their_bytes_hold_a_needle(kit: Any) -> None:
    repo = kit.Repo()
    plain = {"$type": "app.bsky.feed.post", "text": "hello"}
    linking = plain | {"embed": {"external": {"uri": "https://plyr.fm/track/1"}}}
    paths = [f"app.bsky.feed.post/3kaaaaaaaaaa{n}" for n in "23"]
    assert decode_repo_frame(repo.frame(1, ("create", paths[0], plain)), WITH_POSTS) == 1
    assert len(decode_repo_frame(repo.frame(2, ("create", paths[1], linking)), WITH_POSTS).events) == 1
    (delete,) = decode_repo_frame(repo.frame(3, ("delete", paths[0], None)), WITH_POSTS).events
    assert delete.operation is Operation.DELETE


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"blocks": b"\x01\x02"}, ""),
        ({"blocks": b""}, ""),
        ({"blocks": b"x" * 2_000_001}, "2000000 bytes"),
        ({"rev": "yesterday"}, "TID"),
        ({"repo": "artist.example.com"}, "DID"),
        ({"tooBig": True}, "2000000 bytes"),
        ({"ops": "none"}, "200"),
        ({"ops": [{"action": "create", "path": "a/b"}] * 201}, "200"),
        ({"ops": [{"action": "create"}]}, "path"),
        ({"ops": [{"action": "create", "path": "fm.plyr.track/../x", "cid": None}]}, "key"),
        ({"ops": [{"action": "merge", "path": "fm.plyr.track/a", "cid": None}]}, "action"),
        ({"ops": [{"action": "create", "path": "fm.plyr.track/a", "cid": None}]}, "CID"),
        ({"ops": [{"action": "create", "path": "fm.plyr.track/a", "cid": b"short"}]}, "CID"),
    ],
)
def test_P137_an_unusable_commit_is_refused_and_the_connection_lives(kit: Any, change: dict, word: str) -> None:
    body = kit.Repo().body(9, ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record()))
    decoded = decode_repo_frame(message_frame("#commit", body | change), MUSIC)
    assert decoded.position == 9
    assert decoded.events == ()
    assert word in decoded.refused


def test_P140_a_record_block_that_does_not_hash_to_its_cid_is_refused(kit: Any) -> None:
    body = kit.Repo().body(1, ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record()))
    altered = body["blocks"].replace(b"A piece", b"B piece")
    assert "hash" in decode_repo_frame(message_frame("#commit", body | {"blocks": altered}), MUSIC).refused


def test_P137_a_record_over_one_megabyte_is_refused(kit: Any) -> None:
    frame = kit.Repo().frame(
        1, ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record(description="x" * 1_000_001))
    )
    assert "1 MB" in decode_repo_frame(frame, MUSIC).refused


def test_P137_a_frame_over_five_megabytes_is_a_bad_frame() -> None:
    with pytest.raises(BadFrame, match="5 MB"):
        decode_repo_frame(message_frame("#sync", {"seq": 1, "blocks": b"x" * 5_000_000}), MUSIC)


def test_P138_a_record_nested_too_deeply_is_an_event_without_record(kit: Any) -> None:
    nested: Any = "end"
    for _ in range(40):
        nested = [nested]
    (event,) = decode_repo_frame(
        kit.Repo().frame(1, ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record(deep=nested))), MUSIC
    ).events
    assert event.record is None
    assert event.cid is not None


def test_account_identity_sync_and_info() -> None:
    account = decode_repo_frame(
        message_frame("#account", {"seq": 4, "did": DID, "active": False, "status": "deleted"}), MUSIC
    )
    assert account.events == (AccountEvent(DID, False, "deleted", 4),)
    for time, time_us in (("2023-11-14T22:13:20.000001Z", 1_700_000_000_000_001), ("soon", None), (5, None)):
        body = {"seq": 4, "did": DID, "active": True, "time": time}
        assert decode_repo_frame(message_frame("#account", body), MUSIC).events[0].time_us == time_us
    identity = decode_repo_frame(message_frame("#identity", {"seq": 5, "did": DID, "handle": "x.example"}), MUSIC)
    assert identity.events == (IdentityEvent(DID, 5),)
    assert decode_repo_frame(message_frame("#sync", {"seq": 6, "did": DID}), MUSIC) == 6
    info = decode_repo_frame(message_frame("#info", {"name": "OutdatedCursor"}), MUSIC)
    assert (info.position, info.notice) == (None, ("OutdatedCursor", ""))
    assert decode_repo_frame(message_frame("#account", {"seq": 7, "did": DID}), MUSIC).refused


@pytest.mark.parametrize("seq", [None, "1", True, -1, 1.5, 2**63])
def test_a_known_message_without_sequence_number_is_a_bad_frame(seq: Any) -> None:
    with pytest.raises(BadFrame):
        decode_repo_frame(message_frame("#identity", {"seq": seq, "did": DID}), MUSIC)


def decode_hostile(data: bytes) -> None:
    followed = Interest(WITH_POSTS.collections, WITH_POSTS.needles, followed=frozenset((DID,)))
    for interest in (WITH_POSTS, followed):
        with contextlib.suppress(BadFrame, ErrorFrame):
            decode_repo_frame(data, interest)


@given(st.binary(max_size=400))
def test_noise_raises_only_typed_errors(data: bytes) -> None:
    decode_hostile(data)


@pytest.mark.parametrize(
    "data", [b"\x81" * 100_000, b"\x9b" + b"\xff" * 8, b"\xbb\x7f" + b"\xff" * 7, b"", b"\xd8\x2a"]
)
def test_P139_cbor_bombs_raise_only_typed_errors(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_repo_frame(data, MUSIC)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["seq", "repo", "did", "ops", "blocks", "rev", "commit", "active", "status", "path", "action"])


@given(
    st.sampled_from(["#commit", "#sync", "#identity", "#account", "#info", "#new"]), st.dictionaries(NAMES, ANYTHING)
)
def test_well_formed_frames_of_nonsense_raise_only_typed_errors(kind: str, body: dict[str, Any]) -> None:
    for who in ({}, {"repo": DID, "did": DID}):
        decode_hostile(message_frame(kind, {"seq": 5} | body | who))


@given(
    st.lists(st.fixed_dictionaries({}, optional={"path": ANYTHING, "action": ANYTHING, "cid": ANYTHING}), max_size=3)
)
def test_commits_of_nonsense_operations_raise_only_typed_errors(ops: list[dict[str, Any]]) -> None:
    for op in ops:
        op.setdefault("path", "fm.plyr.track/a")
    decode_hostile(
        message_frame("#commit", {"seq": 5, "repo": DID, "rev": "3kaaaaaaaaaa2", "ops": ops, "blocks": b"\x01"})
    )


@given(st.data())
def test_a_flipped_byte_anywhere_raises_only_typed_errors(data: st.DataObject) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "commit-events.json").read_text())
    raw = libipld.decode_multibase("m" + vectors["valid"][0]["blocksBase64"].rstrip("="))[1]
    ops = [{"action": "create", "path": "fm.plyr.track/a", "cid": next(iter(libipld.decode_car(raw)[1]))}]
    body = {"seq": 1, "repo": DID, "rev": "3kaaaaaaaaaa2", "ops": ops, "blocks": raw}
    frame = bytearray(message_frame("#commit", body))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    decode_hostile(bytes(frame))


def test_error_frames_of_ours_are_theirs() -> None:
    with pytest.raises(ErrorFrame, match="FutureCursor"):
        split_frame(error_frame("FutureCursor"))
