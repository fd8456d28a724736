"""DID resolution: documents of both styles, methods, cache (P204-P210), and the visibility adapter beside it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Crowded, Tombstoned, Unanswered, UnknownDid, Unreachable, UnsafeHost
from core.keys import SigningKey
from core.ports import HttpAnswer
from core.types import AtUri, Track, Visibility
from firehose.diddoc import read_document, service_origin
from firehose.guard import Guard
from firehose.identity import DidDirectory, document_url
from firehose.safehttp import GuardedHttp
from firehose.visibility import PlyrVisibility

DID = "did:plc:artist222222222222222222"
KEY = SigningKey(b"\x07" * 32).public


def document(**changes: Any) -> dict[str, Any]:
    return {
        "id": DID,
        "alsoKnownAs": ["at://bad_handle", "at://Artist.Example.com", "at://second.example.com"],
        "verificationMethod": [
            {"id": f"{DID}#atproto", "type": "Multikey", "controller": DID, "publicKeyMultibase": KEY.multikey},
            {"id": "#atproto_label", "type": "Multikey", "controller": DID, "publicKeyMultibase": KEY.multikey},
        ],
        "service": [
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example.com/"},
            {"id": f"{DID}#atproto_labeler", "type": "AtprotoLabeler", "serviceEndpoint": "https://l.example.com"},
        ],
    } | changes


class StillClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds

    def random(self) -> float:
        return 0.5


class Plc:
    """A directory server that counts questions."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] = (200, json.dumps(document()))
        self.last: dict[str, Any] = {"type": "plc_operation"}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        if request.path.endswith("/log/last"):
            return web.json_response(self.last)
        self.asked += 1
        await self.gate.wait()
        return web.Response(status=self.answer[0], text=self.answer[1], content_type="application/json")


@pytest.fixture
async def plc() -> Plc:
    return Plc()


@pytest.fixture
async def still() -> StillClock:
    return StillClock()


@pytest.fixture
async def directory(plc: Plc, still: StillClock, serve: Any) -> Any:
    client = GuardedHttp(Guard(allow_loopback=True), clock=still, user_agent="x")
    yield DidDirectory(client, clock=still, plc_url=await serve(plc.handle), allow_loopback=True, capacity=2)
    await client.close()


def test_P207_P208_a_document_is_read() -> None:
    identity = read_document(DID, document())
    assert (identity.pds, identity.signing_key, identity.label_key) == ("https://pds.example.com", KEY, KEY)
    assert identity.handle_claim == "artist.example.com"
    assert identity.services == {"atproto_pds": "https://pds.example.com", "atproto_labeler": "https://l.example.com"}


def test_P207_interop_documents(shared_data: Path) -> None:
    folder = shared_data / "protocol" / "interop" / "indigo-identity"
    read = {
        name: read_document(body["id"], body)
        for name in ("did_plc_doc", "did_plc_doc_legacy", "did_web_doc")
        if (body := json.loads((folder / f"{name}.json").read_text()))
    }
    assert read["did_plc_doc"].signing_key == read["did_plc_doc_legacy"].signing_key
    assert read["did_plc_doc"].signing_key is not None
    assert {read["did_plc_doc"].pds, read["did_plc_doc_legacy"].pds} == {"https://bsky.social"}
    assert read["did_web_doc"].services == {"bsky_fg": "https://discover.bsky.social"}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://pds.example.com",
        "https://pds.example.com/path",
        "https://user@pds.example.com",
        "https://pds.example.com?x=1",
        "https://",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:3000",
        {"uri": "https://pds.example.com"},
        None,
    ],
)
def test_P207_a_service_url_is_scheme_host_and_port(endpoint: Any) -> None:
    assert service_origin(endpoint) is None


def test_loopback_services_only_when_allowed() -> None:
    assert service_origin("http://127.0.0.1:3000", allow_loopback=True) == "http://127.0.0.1:3000"
    assert service_origin("http://10.0.0.1:3000", allow_loopback=True) is None


@pytest.mark.parametrize(
    "change",
    [
        {
            "verificationMethod": [
                {
                    "id": "#atproto",
                    "type": "Multikey",
                    "controller": "did:web:x.com",
                    "publicKeyMultibase": KEY.multikey,
                }
            ]
        },
        {
            "verificationMethod": [
                {"id": "#atproto", "type": "Multikey", "controller": DID, "publicKeyMultibase": "zzz"}
            ]
        },
        {
            "verificationMethod": [
                {"id": "#atproto", "type": "Ed25519", "controller": DID, "publicKeyMultibase": KEY.multikey}
            ]
        },
        {
            "verificationMethod": [
                {
                    "id": "did:web:x.com#atproto",
                    "type": "Multikey",
                    "controller": DID,
                    "publicKeyMultibase": KEY.multikey,
                }
            ]
        },
        {"verificationMethod": "none"},
        {"verificationMethod": [5, {"id": 5}, {}]},
    ],
)
def test_P207_a_key_that_is_not_the_accounts_is_none(change: dict[str, Any]) -> None:
    assert read_document(DID, document(**change)).signing_key is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.dictionaries(st.sampled_from(["id", "type", "controller", "publicKeyMultibase", "serviceEndpoint"]), JSON)


@given(
    st.dictionaries(
        st.sampled_from(["alsoKnownAs", "verificationMethod", "service"]), JSON | st.lists(ENTRY, max_size=3)
    )
)
def test_any_document_is_an_identity_or_unknown(changes: dict[str, Any]) -> None:
    read_document(DID, document(**changes))


@pytest.mark.parametrize("other", [None, [], {}, document(id="did:plc:other2222222222222222222")])
def test_P205_a_document_of_somebody_else_is_refused(other: Any) -> None:
    with pytest.raises(UnknownDid):
        read_document(DID, other)


def test_P205_where_documents_are() -> None:
    assert document_url(DID, "https://plc.directory") == f"https://plc.directory/{DID}"
    assert document_url("did:web:artist.example.com", "") == "https://artist.example.com/.well-known/did.json"
    local = document_url("did:web:localhost%3A8080", "", allow_loopback=True)
    assert local == "http://localhost:8080/.well-known/did.json"


@pytest.mark.parametrize(
    "did",
    [
        "did:plc:short",
        "did:plc:ARTIST222222222222222222",
        "did:key:zQ3sht29G4vPyJgUaGE1G4xp8dFiQcbcfvqGeGVFKQES7nCNi",
        "did:web:127.0.0.1",
        "did:web:127.0.0.1%3A80",
        "did:web:localhost",
        "did:web:localhost%3A8080",
        "did:web:example.com%3A8080",
        "did:web:example.com:user",
        "did:web:user%40example.com",
        "did:web:Example.com",
        "did:web:example.com%2Fx",
        "did:web:%6cocalhost",
        "did:web:host.internal",
        "did:web:0x7f.1",
        "did:web:a%20b.com",
        "did:web:",
        "handle.example.com",
        "",
    ],
)
def test_P205_dids_that_are_not_asked_for(did: str) -> None:
    with pytest.raises((UnknownDid, UnsafeHost)):
        document_url(did, "https://plc.directory")


async def test_P210_one_question_serves_many_and_lasts_an_hour(directory: Any, plc: Plc, still: StillClock) -> None:
    identities = await asyncio.gather(*(directory.resolve(DID) for _ in range(20)))
    assert plc.asked == 1
    assert len(set(map(id, identities))) == 1
    still.seconds += 3599
    await directory.resolve(DID)
    assert plc.asked == 1
    still.seconds += 2
    await directory.resolve(DID)
    await directory.resolve(DID, refresh=True)
    assert plc.asked == 3


async def test_P124_a_key_at_hand_is_told_without_asking_anybody(directory: Any, plc: Plc, still: StillClock) -> None:
    assert directory.known_key(DID) is None
    await directory.resolve(DID)
    assert directory.known_key(DID) == KEY
    still.seconds += 3601
    assert directory.known_key(DID) is None
    plc.answer = (404, "")
    with pytest.raises(UnknownDid):
        await directory.resolve(DID, refresh=True)
    assert directory.known_key(DID) is None
    assert plc.asked <= 3


async def test_P210_an_old_answer_serves_for_a_day_while_the_directory_is_down(
    directory: Any, plc: Plc, still: StillClock
) -> None:
    await directory.resolve(DID)
    plc.answer = (500, "")
    still.seconds += 80_000
    assert (await directory.resolve(DID)).did == DID
    with pytest.raises(Unreachable):
        await directory.resolve(DID, refresh=True)
    still.seconds += 7_000
    with pytest.raises(Unreachable):
        await directory.resolve(DID)


@pytest.mark.parametrize("status", [404, 410])
async def test_P210_what_is_unknown_is_remembered_for_a_minute(
    directory: Any, plc: Plc, still: StillClock, status: int
) -> None:
    plc.answer = (status, "{}")
    for _ in range(3):
        with pytest.raises(UnknownDid):
            await directory.resolve(DID)
    assert plc.asked == 1
    still.seconds += 61
    plc.answer = (200, json.dumps(document()))
    assert (await directory.resolve(DID)).did == DID


@pytest.mark.parametrize(
    ("status", "last", "error"),
    [
        (410, "plc_operation", Tombstoned),
        (404, "plc_tombstone", Tombstoned),
        (404, "plc_operation", UnknownDid),
        (404, ["plc_tombstone"], UnknownDid),
    ],
)
async def test_P156_P205_a_tombstone_is_told_from_a_did_that_nobody_knows(
    directory: Any, plc: Plc, status: int, last: Any, error: type[UnknownDid]
) -> None:
    plc.answer, plc.last = (status, "{}"), {"type": last}
    with pytest.raises(UnknownDid) as caught:
        await directory.resolve(DID)
    assert type(caught.value) is error


@pytest.mark.parametrize("answer", [(500, ""), (302, ""), (200, "<html>"), (200, "x" * 70_000), (429, "")])
async def test_trouble_is_transient_and_remembered_for_a_minute(
    directory: Any, plc: Plc, still: StillClock, answer: tuple[int, str]
) -> None:
    plc.answer = answer

    async def ask(refresh: bool = False) -> int:
        with pytest.raises(Unreachable):
            await directory.resolve(DID, refresh=refresh)
        return plc.asked

    assert [await ask(), await ask(), await ask(refresh=True)] == [1, 1, 1]
    still.seconds += 11
    assert [await ask(), await ask(refresh=True), await ask(refresh=True)] == [1, 2, 2]
    directory.forget(DID)
    assert await ask() == 2
    still.seconds += 61
    plc.answer = (200, json.dumps(document()))
    assert (await directory.resolve(DID)).did == DID


async def test_a_directory_that_is_busy_with_us_is_not_remembered(plc: Plc, still: StillClock, serve: Any) -> None:
    class BusyOnce(GuardedHttp):
        turns = 0

        async def get(self, url: str, **wishes: Any) -> HttpAnswer:
            self.turns += 1
            if self.turns == 1:
                raise Crowded("busy with us", retry_after_seconds=1.0)
            return await super().get(url, **wishes)

    client = BusyOnce(Guard(allow_loopback=True), clock=still, user_agent="x")
    directory = DidDirectory(client, clock=still, plc_url=await serve(plc.handle), allow_loopback=True)
    with pytest.raises(Crowded):
        await directory.resolve(DID)
    assert (await directory.resolve(DID)).did == DID  # at once: nothing was remembered
    await client.close()


async def test_P154_forget_also_discards_an_answer_under_way(directory: Any, plc: Plc) -> None:
    plc.gate.clear()
    asking = asyncio.create_task(directory.resolve(DID))
    while plc.asked == 0:
        await asyncio.sleep(0.01)
    directory.forget(DID)
    plc.gate.set()
    await asking
    await directory.resolve(DID)
    assert plc.asked == 2
    directory.forget("did:plc:nobody222222222222222222")


async def test_the_cache_is_bounded(directory: Any, plc: Plc) -> None:
    for name in ("aaaaaa", "bbbbbb", "cccccc"):
        did = f"did:plc:{name}222222222222222222"
        plc.answer = (200, json.dumps(document(id=did)))
        await directory.resolve(did)
    plc.answer = (200, json.dumps(document(id="did:plc:aaaaaa222222222222222222")))
    await directory.resolve("did:plc:aaaaaa222222222222222222")
    assert plc.asked == 4


async def test_one_waiter_giving_up_does_not_take_the_answer_from_the_others(directory: Any, plc: Plc) -> None:
    plc.gate.clear()
    first, second = (asyncio.create_task(directory.resolve(DID)) for _ in range(2))
    while plc.asked == 0:
        await asyncio.sleep(0.01)
    first.cancel()
    plc.gate.set()
    assert (await second).did == DID
    assert plc.asked == 1


TRACK = Track(AtUri.parse(f"at://{DID}/fm.plyr.track/3kaaaaaaaaaa2"), "cid", "3kaaaaaaaaaa2", "T", 0)


async def ask_plyr(serve: Any, still: StillClock, status: int, body: str) -> Any:
    async def handler(request: web.Request) -> web.Response:
        assert (request.path, request.query["uri"]) == ("/tracks/by-uri", str(TRACK.uri))
        return web.Response(status=status, text=body)

    client = GuardedHttp(Guard(allow_loopback=True), clock=still, user_agent="x")
    try:
        return await PlyrVisibility(client, base_url=await serve(handler)).check(TRACK)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"visibility": "public", "unlisted": false, "id": 42}', (Visibility.PUBLIC, "https://plyr.fm/track/42")),
        (200, '{"visibility": "public", "id": "42"}', (Visibility.PUBLIC, None)),
        (200, '{"visibility": "unlisted"}', (Visibility.HIDDEN, None)),
        (200, '{"visibility": "supporters", "id": 1}', (Visibility.HIDDEN, None)),
        (200, '{"visibility": "private"}', (Visibility.HIDDEN, None)),
        (200, '{"visibility": "public", "unlisted": true, "id": 1}', (Visibility.HIDDEN, None)),
        (200, '{"unlisted": true}', (Visibility.HIDDEN, None)),
        (404, "", (Visibility.HIDDEN, None)),
    ],
)
async def test_what_the_app_says(serve: Any, still: StillClock, status: int, body: str, expected: Any) -> None:
    answer = await ask_plyr(serve, still, status, body)
    assert (answer.visibility, answer.page_url) == expected


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, ""),
        (429, ""),
        (403, '{"visibility": "public"}'),
        (301, ""),
        (200, ""),
        (200, "[]"),
        (200, "{}"),
        (200, '{"visibility": "PUBLIC"}'),
        (200, '{"visibility": "friends"}'),
        (200, '{"visibility": ["public"]}'),
        (200, '{"visibility": "public", "unlisted": "no"}'),
        (200, '{"visibility": "public", "atproto_record_uri": "at://did:web:x.com/fm.plyr.track/a"}'),
        (200, "x" * 600_000),
    ],
)
async def test_anything_else_is_no_answer(serve: Any, still: StillClock, status: int, body: str) -> None:
    with pytest.raises(Unanswered):
        await ask_plyr(serve, still, status, body)


async def test_an_app_that_is_down_is_no_answer(still: StillClock) -> None:
    client = GuardedHttp(Guard(allow_loopback=True), clock=still, user_agent="x")
    with pytest.raises(Unanswered):
        await PlyrVisibility(client, base_url="http://127.0.0.1:1").check(TRACK)
    await client.close()
