"""The strict reader over real sockets: at our own service, and at labelers that do it wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from click.testing import CliRunner

from core.clock import SystemClock, format_datetime
from core.config import Settings
from core.errors import BadRecord, Misconfigured, Unreachable, UnsafeHost
from core.keys import PublicKey, SigningKey
from core.label import Label
from core.ports import Identity
from core.types import Did
from core.xrpc import error_frame
from earmark.commands.labels_verify import command
from earmark.demo.show import free_port
from earmark.verifying import Verifying
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.safehttp import GuardedHttp
from labeler.frames import labels_frame
from labeler.scrutiny import Fault, Outcome, Weight
from labeler.signing import sign
from tests.earmark.test_service import Live, joined, running, techno, wav

__all__ = ["techno"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
SRC = Did("did:plc:z72i7hdynmk6r22z27h6tvur")
URI = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"
KEY = SigningKey(bytes(range(1, 33)))
IDLE = 1.0  # everybody here runs in our own event loop


@asynccontextmanager
async def asking(directory: Any) -> AsyncIterator[Verifying]:
    """`directory`: one, or the address of a PLC directory."""
    clock, guard = SystemClock(), Guard(allow_loopback=True)
    http = GuardedHttp(guard, clock=clock, user_agent="test")
    if isinstance(directory, str):
        directory = DidDirectory(http, clock=clock, plc_url=directory, allow_loopback=True)
    try:
        yield Verifying(http, directory, guard, clock=clock, user_agent="test")
    finally:
        await http.close()


# --- our own service -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ours(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Live, Settings]]:
    """A service with a history: labels, one of them taken back."""
    folder = tmp_path_factory.mktemp("verified")
    async with joined(folder) as (network, settings), running(network, settings) as live:
        yield live, settings


async def test_no_reader_stumbles_over_our_own_labels(
    ours: tuple[Live, Settings], techno: np.ndarray[Any, Any]
) -> None:
    """P1-P16, P31-P37, P55-P59, P63-P73, P79, from the DID document to the last frame; also as a verb."""
    live, settings = ours
    uris = [live.track(wav(techno * share)) for share in (1.0, 0.98, 0.96)]
    for uri in uris:
        assert (await live.ended(uri))["verdict"]["labels"] == ["electronic"]
    live.network.delete_record(live.artist, uris[0].collection, uris[0].rkey)

    async def negated() -> bool:
        return await live.labels(uris[0]) == {"electronic": True}

    await live.until(negated)
    async with asking(settings.network.plc_url) as verifying:
        for who in (settings.labeler.did, settings.public_url):
            outcome = await verifying.verify(who, limit=1000, idle_seconds=IDLE)
            assert outcome.faults == []
            assert (outcome.events, outcome.labels, outcome.newest, outcome.compared) == (4, 4, 4, 3)
            assert (outcome.gaps, outcome.complete, outcome.did) == (0, True, settings.labeler.did)
        assert not (await verifying.verify(settings.labeler.did, limit=2, idle_seconds=IDLE)).complete
    words = ("labels", "verify", "--json", "--idle", str(IDLE), settings.public_url)
    said = await run(words, settings)
    assert (said["faults"], said["labels"], said["broken"]) == ([], 4, False)


async def run(words: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    environment = {
        "EARMARK_NETWORK__PLC_URL": settings.network.plc_url,
        "EARMARK_DEVELOPMENT__ALLOW_LOOPBACK": "true",
    }
    line = (sys.executable, "-m", "earmark.cli", *words)
    child = await asyncio.create_subprocess_exec(*line, env=os.environ | environment, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    assert child.returncode == 0, out
    said: dict[str, Any] = json.loads(out)
    return said


# --- others ----------------------------------------------------------------------------------------------------


class Crooked:
    """A labeler on loopback that says what it is told to, and its own directory."""

    def __init__(self) -> None:
        self.url = f"http://localhost:{free_port(0)}"
        self.key: PublicKey | None = KEY.public
        self.endpoint: str | None = self.url
        self.frames: dict[int, bytes | str] = {}
        self.rows: list[dict[str, Any]] = []
        self.redirect: str | None = None
        self.strayed = 0
        self.answer: Callable[[int | None, int], list[bytes | str]] = self.as_it_should

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        services = {} if self.endpoint is None else {"atproto_labeler": self.endpoint}
        return Identity(Did(did), label_key=self.key, services=services)

    def forget(self, did: str) -> None:
        raise AssertionError

    def say(self, label: Label) -> None:
        number = len(self.frames) + 1
        self.frames[number] = labels_frame(number, [label])
        rows = [row for row in self.rows if (row["uri"], row["val"]) != (label.uri, label.val)]
        self.rows = [*rows, label.json_form()]

    def as_it_should(self, cursor: int | None, newest: int) -> list[bytes | str]:
        if cursor is None:
            return []
        if cursor > newest:
            return [error_frame("FutureCursor")]
        return [frame for number, frame in self.frames.items() if number > cursor]

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        if self.redirect is not None:
            raise web.HTTPFound(self.redirect)
        if "Upgrade" not in request.headers:
            return web.json_response({"error": "UpgradeRequired"}, status=426)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            cursor = int(request.query["cursor"]) if "cursor" in request.query else None
            frames = self.answer(cursor, max(self.frames, default=0))
        except ValueError:
            frames = [error_frame("InvalidRequest")]
        for frame in frames:
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        await socket.receive()
        return socket

    async def stray(self, request: web.Request) -> web.Response:
        self.strayed += 1
        return web.Response()

    async def query(self, request: web.Request) -> web.Response:
        rows = [] if request.query.get("sources") else self.rows
        return web.json_response({"labels": rows[: int(request.query.get("limit", "50"))]})


@pytest_asyncio.fixture(loop_scope="module")
async def crooked() -> AsyncIterator[Crooked]:
    labeler = Crooked()
    for number in range(3):
        label = Label(SRC, f"{URI}{number}", "jazz", format_datetime(1_700_000_000_000_000 + number))
        labeler.say(sign(label, KEY))
    app = web.Application()
    app.router.add_get("/xrpc/com.atproto.label.subscribeLabels", labeler.subscribe)
    app.router.add_get("/xrpc/com.atproto.label.queryLabels", labeler.query)
    app.router.add_get("/elsewhere", labeler.stray)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", int(labeler.url.rpartition(":")[2])).start()
    yield labeler
    await runner.cleanup()


async def verify(labeler: Crooked, who: str = SRC) -> Outcome:
    async with asking(labeler) as verifying:
        return await verifying.verify(who, limit=1000, idle_seconds=IDLE / 2)


async def test_a_labeler_that_does_it_right(crooked: Crooked) -> None:
    assert (await verify(crooked)).faults == []
    assert (await verify(crooked, crooked.url)).faults == []


async def broken(labeler: Crooked, rule: str, weight: Weight = Weight.BROKEN) -> None:
    outcome = await verify(labeler)
    assert rule in {fault.rule for fault in outcome.faults if fault.weight is weight}, outcome.faults
    assert outcome.broken is (weight is Weight.BROKEN)


async def test_a_stream_without_labels_and_without_end_is_left(crooked: Crooked) -> None:
    crooked.answer = lambda cursor, newest: [labels_frame(number, []) for number in range(1, 5_000)]
    assert not (await verify(crooked)).complete


async def test_p97_p206_a_redirect_leads_nowhere(crooked: Crooked) -> None:
    crooked.redirect = crooked.url.replace("localhost", "127.0.0.1") + "/elsewhere"
    with pytest.raises(Unreachable, match="redirects"):
        await verify(crooked)
    assert crooked.strayed == 0


async def test_p63_json_text_frames(crooked: Crooked) -> None:
    """As plyr.fm's labeler sends them."""
    crooked.frames[4] = json.dumps({"seq": 4, "labels": []})
    await broken(crooked, "P63")


async def test_p69_p71_a_server_that_repeats_and_goes_on(crooked: Crooked) -> None:
    """Skyware goes on after FutureCursor; the written specification says that the cursor's own event comes again."""
    crooked.answer = lambda cursor, newest: [
        frame for number, frame in crooked.frames.items() if number >= (cursor or 0) or (cursor or 0) > newest
    ]
    outcome = await verify(crooked)
    rules = {fault.rule: fault.weight for fault in outcome.faults}
    assert rules == {"P69": Weight.ODD, "P71": Weight.BROKEN, "P68": Weight.BROKEN}


async def test_p55_p58_query_labels_that_disagrees(crooked: Crooked) -> None:
    del crooked.rows[1]
    await broken(crooked, "P58")


async def test_p40_a_did_document_without_the_key(crooked: Crooked) -> None:
    crooked.key = None
    await broken(crooked, "P40")


async def test_p83_a_host_that_serves_what_its_did_document_does_not_know(crooked: Crooked) -> None:
    crooked.endpoint = "https://elsewhere.example"
    with pytest.raises(BadRecord, match=r"names https://elsewhere\.example"):
        await verify(crooked, crooked.url)
    crooked.endpoint = None
    with pytest.raises(BadRecord, match="no #atproto_labeler"):
        await verify(crooked)


async def test_p206_a_did_document_does_not_choose_whom_we_call(crooked: Crooked) -> None:
    for endpoint in ("https://169.254.169.254", "http://10.0.0.1", "https://labeler.internal"):
        crooked.endpoint = endpoint
        with pytest.raises(UnsafeHost):
            await verify(crooked)


async def test_however_many_faults_there_are_some_are_kept_and_all_are_counted() -> None:
    outcome = Outcome(SRC, "https://labeler.example")
    outcome.note(*(Fault("P4", "neg", Weight.ODD) for _ in range(5000)), Fault("P7", "sig"))
    assert outcome.broken
    assert (len(outcome.faults), outcome.counts["P4"]) == (1000, 5000)


async def test_the_verb_needs_to_know_whom(tmp_path: Path) -> None:
    ran = CliRunner().invoke(command, [], obj=None, env={"EARMARK_HOME": str(tmp_path)})
    assert isinstance(ran.exception, Misconfigured)
