"""Commits of the demo's repositories, checked by the verifier that the service uses and by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.clock import SystemClock, TidClock
from core.dagcbor import cid_bytes, decode
from core.keys import SigningKey
from core.types import Did, Nsid
from earmark.demo.datamodel import blobs_in, from_json
from earmark.demo.repo import Commit, Repo, Write
from firehose.car import read_car
from firehose.verify import BadCommit, verify_commit

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
KEY = SigningKey(bytes(range(1, 33)))
TRACKS = Nsid("fm.plyr.track")


def new_repo() -> Repo:
    return Repo(DID, KEY, TidClock(SystemClock()))


def check(commit: Commit, **changes: Any) -> None:
    message = commit.to_wire(DID) | changes
    verify_commit(message, read_car(message["blocks"]), KEY.public)


def test_p143_every_commit_of_a_random_history_can_be_turned_back() -> None:
    source = random.Random(3)
    repo = new_repo()
    for step in range(300):
        before = repo.head
        paths = sorted(repo.records)
        chosen = {}
        for _ in range(source.choice((1, 1, 1, 4, 12))):
            if paths and source.random() < 0.45:
                path = source.choice(paths)
                gone = source.random() < 0.7
                chosen[path] = Write(TRACKS, path.split("/")[1], None if gone else {"title": f"again {step}"})
            else:
                rkey = f"{source.randrange(10**6):06d}"
                chosen.setdefault(f"{TRACKS}/{rkey}", Write(TRACKS, rkey, {"title": f"{step}"}))
        commit = repo.apply(list(chosen.values()))
        assert commit is not None
        assert commit.since == before.rev
        assert commit.rev > before.rev
        check(commit)
    actions = {op.action for op in repo.head.ops}
    assert actions <= {"create", "update", "delete"}


def test_p136_a_commit_says_what_sync_1_1_wants() -> None:
    repo = new_repo()
    first = repo.head.to_wire(DID)
    assert first["since"] is None
    assert "prevData" not in first
    empty = decode(repo.head.block)["data"]
    commit = repo.apply([Write(TRACKS, "one", {"title": "One"})])
    assert commit is not None
    wire = commit.to_wire(DID)
    assert wire["prevData"] == empty
    assert set(wire) == {
        *("repo", "commit", "rev", "since", "blocks", "ops", "blobs", "tooBig", "rebase", "prevData"),
    }
    assert wire["ops"] == [
        {"action": "create", "path": "fm.plyr.track/one", "cid": repo.records["fm.plyr.track/one"].cid}
    ]
    deleted = repo.apply([Write(TRACKS, "one", None)])
    assert deleted is not None
    cid = commit.ops[0].record
    assert cid is not None
    assert deleted.to_wire(DID)["ops"] == [
        {"action": "delete", "path": "fm.plyr.track/one", "cid": None, "prev": cid.cid}
    ]
    signed = decode(deleted.block)
    assert (signed["did"], signed["version"], signed["prev"]) == (DID, 3, None)
    assert deleted.cid == cid_bytes(deleted.block)


def test_p142_a_commit_that_was_tampered_with_is_refused() -> None:
    repo = new_repo()
    commit = repo.apply([Write(TRACKS, "one", {"title": "One"})])
    assert commit is not None
    check(commit)
    with pytest.raises(BadCommit):
        check(commit, prevData=cid_bytes(b"another tree"))
    with pytest.raises(BadCommit):
        verify_commit(commit.to_wire(DID), read_car(commit.car), SigningKey(bytes(range(2, 34))).public)


def test_identical_contents_make_no_commit() -> None:
    repo = new_repo()
    repo.apply([Write(TRACKS, "one", {"title": "One"})])
    head = repo.head
    assert repo.apply([Write(TRACKS, "one", {"title": "One"})]) is None
    assert repo.head is head
    with pytest.raises(KeyError):
        repo.apply([Write(TRACKS, "two", None)])


def test_p174_proofs_hold_a_record_or_its_absence() -> None:
    repo = new_repo()
    for number in range(40):
        repo.apply([Write(TRACKS, f"{number:03d}", {"title": f"{number}"})])
    car = read_car(repo.prove("fm.plyr.track/007"))
    assert car.root == repo.head.cid
    assert car.value(repo.records["fm.plyr.track/007"].cid) == {"title": "7"}
    absent = read_car(repo.prove("fm.plyr.track/999"))
    assert absent.value(repo.head.cid)["data"] in absent


def test_p185_json_becomes_the_data_model() -> None:
    link = "bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy"
    blob = {"$type": "blob", "ref": {"$link": link}, "mimeType": "audio/wav", "size": 3}
    value = from_json({"a": [blob], "b": {"$bytes": "AAECAw"}})
    assert value["b"] == b"\0\1\2\3"
    assert value["a"][0]["ref"][:4] == bytes((1, 0x55, 0x12, 0x20))
    assert blobs_in({"a": [{"deep": blob}]}) == {link}
    with pytest.raises(ValueError, match="float"):
        from_json({"a": 0.5})
