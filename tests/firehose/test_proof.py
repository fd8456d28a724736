"""Single records with their proof, from hosts that prove, refuse, lie, and have moved (P174, P177)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from core.dagcbor import encode
from core.errors import AccountAway, AppError, RateLimited, UnknownDid, Unproven, Unreachable
from core.keys import SigningKey
from core.ports import Identity
from core.types import AtUri, make_tid
from firehose.guard import Guard
from firehose.proof import RecordProver
from firehose.safehttp import GuardedHttp

PATH = "fm.plyr.track/3kaaaaaaaaaa2"
OTHER = "fm.plyr.track/3kbbbbbbbbbb2"
Host = Callable[[web.Request], web.Response]


def archive(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/vnd.ipld.car")


def error(name: str, status: int = 400) -> web.Response:
    return web.json_response({"error": name, "message": "no"}, status=status)


@pytest.fixture
async def proving(kit: Any, clock: Any, serve: Any) -> Any:
    """Proves a path of the repository at a host that answers as told."""
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")

    async def prove(repo: Any, host: Host, path: str = PATH, directory: Any = None) -> Any:
        async def handler(request: web.Request) -> web.Response:
            assert request.query["did"] == repo.did
            return host(request)

        base = await serve(handler)
        directory = directory or kit.KnownIdentities(repo.identity(pds=base))
        uri = AtUri.parse(f"at://{repo.did}/{path}")
        return await RecordProver(http, directory, clock=clock).prove(uri)

    yield prove
    await http.close()


@pytest.fixture
def repo(kit: Any) -> Any:
    one = kit.Repo()
    one.body(1, ("create", PATH, kit.track_record()), ("create", "a.b.c/self", {"$type": "a.b.c"}))
    return one


async def test_P174_a_record_is_proven(kit: Any, repo: Any, proving: Any) -> None:
    def host(request: web.Request) -> web.Response:
        assert request.path == "/xrpc/com.atproto.sync.getRecord"
        assert (request.query["collection"], request.query["rkey"]) == tuple(PATH.split("/"))
        return archive(repo.proof(PATH))

    proven = await proving(repo, host)
    assert (str(proven.uri), proven.rev) == (f"at://{repo.did}/{PATH}", repo.rev)
    assert proven.cid == kit.cid_of(encode(kit.track_record()))
    assert proven.record["audioBlob"]["ref"] == {"$link": kit.cid_of(b"sound", 0x55)}


async def test_P174_absence_is_proven(repo: Any, proving: Any) -> None:
    proven = await proving(repo, lambda request: archive(repo.proof(OTHER)), OTHER)
    assert (proven.rev, proven.cid, proven.record) == (repo.rev, None, None)


async def test_P174_a_record_that_is_no_map_is_proven_without_content(kit: Any, proving: Any) -> None:
    repo = kit.Repo()
    repo.body(1, ("create", PATH, ["no", "map"]))
    proven = await proving(repo, lambda request: archive(repo.proof(PATH)))
    assert proven.cid == kit.cid_of(encode(["no", "map"]))
    assert proven.record is None


async def test_P177_a_record_not_found_is_a_delete_as_of_the_newest_revision(repo: Any, proving: Any) -> None:
    def host(request: web.Request) -> web.Response:
        if request.path.endswith("getLatestCommit"):
            return web.json_response({"cid": "bafy", "rev": repo.rev})
        return error("RecordNotFound", 404)

    proven = await proving(repo, host)
    assert (proven.rev, proven.cid) == (repo.rev, None)


async def test_P146_a_host_that_hides_a_record_at_a_revision_in_the_future_is_not_believed(
    repo: Any, proving: Any, clock: Any
) -> None:
    def host(request: web.Request) -> web.Response:
        if request.path.endswith("getLatestCommit"):
            return web.json_response({"cid": "bafy", "rev": make_tid(clock.now_us() + 3_600_000_000)})
        return error("RecordNotFound", 404)

    with pytest.raises(Unproven, match="future"):
        await proving(repo, host)


@pytest.mark.parametrize(
    ("answer", "raised", "status"),
    [
        (lambda: error("RepoNotFound"), AccountAway, "not_found"),
        (lambda: error("RepoTakendown"), AccountAway, "takendown"),
        (lambda: error("RepoSuspended", 403), AccountAway, "suspended"),
        (lambda: error("RepoDeactivated"), AccountAway, "deactivated"),
        (lambda: error("MethodNotImplemented", 501), Unproven, None),
        (lambda: error("InternalServerError", 500), Unreachable, None),
        (lambda: error("AccessDenied", 403), Unreachable, None),
        (lambda: web.Response(status=404, text="<h1>not here</h1>"), Unreachable, None),
        (lambda: web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), Unreachable, None),
        (lambda: web.Response(status=429, headers={"Retry-After": "7"}), RateLimited, None),
        (lambda: archive(b""), Unproven, None),
        (lambda: archive(b"{}"), Unproven, None),
        (lambda: archive(b"x" * 2_000_001), Unreachable, None),
    ],
)
async def test_P177_other_answers_are_told_apart_by_name(
    repo: Any, proving: Any, answer: Callable[[], web.Response], raised: type[AppError], status: str | None
) -> None:
    with pytest.raises(raised) as caught:
        await proving(repo, lambda request: answer())
    assert getattr(caught.value, "status", None) == status


def forge(kit: Any, repo: Any, what: str) -> bytes:
    """The proof as a host that lies would give it."""
    if what == "another account's":
        other = kit.Repo("other", seed=2)
        other.body(1, ("create", PATH, kit.track_record()))
        return other.proof(PATH)
    if what == "signed with another key":
        other = kit.Repo(seed=3)
        other.body(1, ("create", PATH, kit.track_record()))
        return other.proof(PATH)
    if what == "altered record":
        return repo.proof(PATH).replace(b"A piece", b"B piece")
    if what == "record left out":
        proof, block = repo.proof(PATH), encode(kit.track_record())
        at = proof.index(block) - 36 - 2
        return proof[:at] + proof[at + 38 + len(block) :]
    raise AssertionError(what)


@pytest.mark.parametrize("what", ["another account's", "signed with another key", "altered record", "record left out"])
async def test_P140_P174_a_false_proof_is_none(kit: Any, repo: Any, proving: Any, what: str) -> None:
    with pytest.raises(Unproven):
        await proving(repo, lambda request: archive(forge(kit, repo, what)))


async def test_P137_a_record_over_one_megabyte_is_not_proven(kit: Any, proving: Any) -> None:
    repo = kit.Repo()
    repo.body(1, ("create", PATH, kit.track_record(description="x" * 1_000_001)))
    with pytest.raises(Unproven, match="1 MB"):
        await proving(repo, lambda request: archive(repo.proof(PATH)))


async def test_P146_a_proof_signed_in_the_future_is_none(kit: Any, proving: Any, clock: Any) -> None:
    repo = kit.Repo(start_us=clock.now_us() + 3_600_000_000)
    repo.body(1, ("create", PATH, kit.track_record()))
    with pytest.raises(Unproven, match="future"):
        await proving(repo, lambda request: archive(repo.proof(PATH)))


class Moved:
    """A directory that knows better when asked to look again."""

    def __init__(self, before: Identity, after: Identity) -> None:
        self.before, self.after = before, after
        self.asked: list[bool] = []

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        self.asked.append(refresh)
        return self.after if refresh else self.before

    def forget(self, did: str) -> None: ...


@pytest.mark.parametrize("before", ["dead host", "old key", "no key", "no host", "deactivated there"])
async def test_P142_an_account_that_moved_or_changed_its_key_is_looked_up_once_more(
    repo: Any, proving: Any, serve: Any, before: str
) -> None:
    async def here(request: web.Request) -> web.Response:
        return archive(repo.proof(PATH))

    async def gone(request: web.Request) -> web.Response:
        return error("RepoDeactivated")

    now = repo.identity(pds=await serve(here))
    old = {
        "dead host": repo.identity(pds="http://127.0.0.1:1"),
        "old key": Identity(repo.did, pds=now.pds, signing_key=SigningKey(b"\x09" * 32).public),
        "no key": Identity(repo.did, pds=now.pds),
        "no host": repo.identity(),
        "deactivated there": repo.identity(pds=await serve(gone)),
    }[before]
    directory = Moved(old, now)
    assert (await proving(repo, lambda request: error("RepoNotFound"), directory=directory)).rev == repo.rev
    assert directory.asked == [False, True]


async def test_P147_an_account_without_key_or_host_has_no_proof(kit: Any, repo: Any, proving: Any) -> None:
    with pytest.raises(UnknownDid):
        await proving(repo, lambda request: archive(b""), directory=kit.KnownIdentities(Identity(repo.did)))
