"""`earmark labeler` and the start of `serve`: keys in files, what others see, and an identity that is not ours.

The way through a real PDS and a real directory is in tests/network/test_enrolment.py.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from pydantic import SecretStr

from core.config import Settings
from core.errors import Misconfigured
from core.keys import SigningKey
from core.label import Label
from core.log import set_up
from core.taxonomy import Taxonomy
from earmark.checkup import Checkup
from earmark.cli import cli
from earmark.compose import build
from earmark.demo.show import free_port
from earmark.enrolling import open_enroller
from labeler.signing import sign
from labeler.vocabulary import NSID, build_declaration
from tests.earmark.test_service import joined, running, wav

OTHER = "07" * 32


async def ask(settings: Settings, *arguments: str, **more: str) -> Result:
    """The verb as an operator calls it, in a thread: what it asks runs in this loop. `more`: of the environment."""
    assert settings.labeler.key is not None
    environment = {
        "EARMARK_STORAGE__FOLDER": str(settings.data),
        "EARMARK_SERVICE__PORT": str(settings.service.port),
        "EARMARK_NETWORK__PLC_URL": settings.network.plc_url,
        "EARMARK_NETWORK__RELAY_URL": settings.network.relay_url,
        "EARMARK_LABELER__DID": settings.labeler.did,
        "EARMARK_LABELER__KEY": settings.labeler.key.get_secret_value(),
        "EARMARK_ANNOUNCER__DID": settings.announcer.did,
        "EARMARK_FEEDS__SERVICE_DID": settings.feeds.service_did,
        "EARMARK_SOURCE__COLLECTIONS": ",".join(settings.source.collections),
        "EARMARK_DEVELOPMENT__ALLOW_LOOPBACK": "true",
    }
    return await asyncio.to_thread(CliRunner().invoke, cli, ["labeler", *arguments], env=environment | more)


def wrong(result: Result) -> list[str]:
    """What has a finding, in order; each says what to do."""
    checks: list[dict[str, Any]] = orjson.loads(result.stdout)["checks"]
    assert all(finding["what"] and finding["remedy"] for check in checks for finding in check["findings"])
    assert result.exit_code == (0 if all(check["ok"] for check in checks) else 1), result.output
    return [check["name"] for check in checks if not check["ok"]]


def turned(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"labeler": settings.labeler.model_copy(update=changes)})


def test_p44_key_new_makes_a_private_file_and_prints_the_public_half(tmp_path: Path) -> None:
    file = tmp_path / "label.key"
    made = CliRunner().invoke(cli, ["labeler", "key", "new", str(file)])
    assert made.exit_code == 0, made.output
    secret = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.stdout.strip() == f"#atproto_label: {SigningKey.from_hex(secret).public.multikey}"
    assert secret not in made.output
    assert isinstance(CliRunner().invoke(cli, ["labeler", "key", "new", str(file)]).exception, Misconfigured)
    certificate = CliRunner().invoke(cli, ["labeler", "key", "new", "--certificate", "--json", f"{file}.2"])
    assert orjson.loads(certificate.stdout)["setting"] == "certificates.key_file"


@pytest.mark.parametrize("verb", ["setup", "check"])
def test_nothing_is_asked_of_anybody_without_an_identity(verb: str) -> None:
    asked = CliRunner().invoke(cli, ["labeler", verb])
    assert isinstance(asked.exception, Misconfigured)
    assert "labeler key new" in str(asked.exception)


async def test_p27_p49_p83_check_says_what_is_missing_in_order(tmp_path: Path) -> None:
    async with joined(tmp_path) as (network, settings):
        labeler = network.accounts[0]
        assert wrong(await ask(settings, "check", "--json")) == ["address", "declaration"]
        announcer = settings.announcer.model_copy(update={"did": labeler.did})
        same = settings.model_copy(update={"announcer": announcer})
        assert wrong(await ask(same, "check", "--json"))[0] == "announcer"
        other = turned(settings, key=SecretStr(OTHER))
        assert "DID document" in wrong(await ask(other, "check", "--json"))
        network.switches.directory_down = True
        shown = await ask(settings, "check")
        assert shown.exit_code == 1
        assert "WRONG  DID document" in shown.stdout
        assert "-> " in shown.stdout
        assert OTHER not in shown.output


async def test_check_finds_nothing_once_all_is_there(tmp_path: Path, techno: np.ndarray[Any, Any]) -> None:
    async with joined(tmp_path) as (network, settings), running(network, settings) as live:
        record = build_declaration(Taxonomy.load(), music=settings.source.collections, created_us=0)
        network.create_record(network.accounts[0], NSID, "self", record)
        assert wrong(await ask(settings, "check", "--json")) == []
        await live.ended(live.track(wav(techno)))
        page = (await ask(settings, "check")).stdout
        assert page.count("the first label verifies") == 2
        # Readers believe the key in the document: with another one there our labels are worth nothing.
        url = settings.public_url
        theirs = SigningKey.from_hex(OTHER).public
        network.set_services(network.accounts[0], label_key=theirs, labeler=url, feeds=url)
        assert wrong(await ask(settings, "check", "--json")) == ["DID document", "queryLabels", "subscribeLabels"]


@asynccontextmanager
async def answering(settings: Settings, labels: list[dict[str, Any]], stream: Any) -> AsyncIterator[None]:
    """A service at our address that is healthy, lists these labels, and has this in the place of the stream."""
    app = web.Application()

    async def told(request: web.Request) -> web.Response:
        return web.json_response({"labels": labels})

    app.router.add_get("/xrpc/_health", told)
    app.router.add_get("/xrpc/com.atproto.label.queryLabels", told)
    app.router.add_get("/xrpc/com.atproto.label.subscribeLabels", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.service.host, settings.service.port).start()
    yield
    await runner.cleanup()


async def silent(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.receive()
    return socket


async def test_p80_a_stream_that_holds_the_labels_back_is_found(tmp_path: Path) -> None:
    async with joined(tmp_path) as (_, settings):
        assert settings.labeler.key is not None
        key, did = SigningKey.from_hex(settings.labeler.key.get_secret_value()), settings.labeler.did
        label = sign(Label(did, f"at://{did}/fm.plyr.track/t", "ambient", "2026-01-01T00:00:00.000Z"), key)
        for labels, found in (([], []), ([label.json_form()], ["subscribeLabels"])):
            async with answering(settings, labels, silent):
                assert wrong(await ask(settings, "check", "--json")) == [*found, "declaration"]


async def test_p49_the_declaration_waits_for_the_stream(tmp_path: Path) -> None:
    """A proxy that passes no WebSockets on answers the rest as it should."""

    async def no_socket(request: web.Request) -> web.Response:
        return web.Response(status=404)

    async with joined(tmp_path) as (_, settings), open_enroller(settings) as enroller:
        async with answering(settings, [], no_socket):
            assert await enroller.why_unreachable() is None
            assert "subscribeLabels" in (await enroller.why_not_ready() or "")
        async with answering(settings, [], silent):  # nothing is labelled yet
            assert await enroller.why_not_ready() is None
        assert await enroller.why_not_ready() is not None


async def test_a_clock_that_is_wrong_is_found(tmp_path: Path) -> None:
    async with joined(tmp_path) as (_, settings), open_enroller(settings) as enroller:
        key = SigningKey.from_hex(OTHER).public
        checkup = Checkup(enroller, key, now_us=lambda: 0)
        looked = {one.name: one async for one in checkup.run()}
    (finding,) = looked["clock"].findings
    assert "behind" in finding.what


async def test_p44_serve_refuses_to_start_with_a_key_that_the_document_does_not_name(tmp_path: Path) -> None:
    async with joined(tmp_path) as (network, settings):
        service = build(turned(settings, key=SecretStr(OTHER)), log=set_up(level="critical"))
        with pytest.raises(Misconfigured, match=r"atproto_label key.*first_setup"):
            await service.run(asyncio.Event())
        assert not settings.database.exists()
        account = network.accounts[0]
        network.set_services(account, label_key=account.label_key, labeler="https://elsewhere.example", feeds=None)
        with pytest.raises(Misconfigured, match="endpoint"):
            await build(settings, log=set_up(level="critical")).run(asyncio.Event())
        nobody = turned(settings, did="did:plc:" + "a" * 24)
        with pytest.raises(Misconfigured, match=r"labeler\.did"):
            await build(nobody, log=set_up(level="critical")).run(asyncio.Event())


async def test_p44_p90_a_directorys_labeler_that_is_the_feed_generator_too_serves_no_document(tmp_path: Path) -> None:
    """One DID for both in the PLC directory: neither the start nor a new key may take it for a did:web of ours."""
    async with joined(tmp_path) as (_, settings):
        file, feeds = tmp_path / "label.key", settings.feeds.model_copy(update={"service_did": settings.labeler.did})
        both = turned(settings, key=SecretStr(OTHER)).model_copy(update={"feeds": feeds})
        with pytest.raises(Misconfigured, match="atproto_label key"):
            await build(both, log=set_up(level="critical")).run(asyncio.Event())
        file.write_text(OTHER)
        file.chmod(0o600)
        words = {"EARMARK_LABELER__KEY": "", "EARMARK_LABELER__KEY_FILE": str(file), "EARMARK_PDS_PASSWORD": "p"}
        rotated = await ask(both, "key", "rotate", "--yes", **words)
        assert rotated.exception  # this network's directory shows no entry that could be changed
        assert file.read_text() == OTHER


async def test_p44_the_first_set_up_and_a_silent_directory_are_waited_for(tmp_path: Path) -> None:
    async with joined(tmp_path) as (network, settings):
        first = build(turned(settings, key=SecretStr(OTHER), first_setup=True), log=set_up(level="critical"))
        await first.labelling.enrolment.refuse_mismatch(first.outside.directory)
        network.switches.directory_down = True
        waiting = build(turned(settings, key=SecretStr(OTHER)), log=set_up(level="critical"))
        await waiting.labelling.enrolment.refuse_mismatch(waiting.outside.directory)
        network.switches.directory_down = False
        ours = build(settings, log=set_up(level="critical"))
        await ours.labelling.enrolment.refuse_mismatch(ours.outside.directory)
        assert not first.labelling.enrolment.verified
        assert not waiting.labelling.enrolment.verified
        assert ours.labelling.enrolment.verified


def test_p89_setup_of_a_did_web_of_our_own_prints_the_document(tmp_path: Path) -> None:
    port = free_port(0)
    settings = Settings.load(
        storage={"folder": tmp_path},
        service={"port": port},
        labeler={"did": f"did:web:localhost%3A{port}", "key": SecretStr(OTHER)},
    )
    shown = asyncio.run(ask(settings, "setup", "--json"))
    assert shown.exit_code == 0, shown.output
    assert orjson.loads(shown.stdout)["left"] == []
    assert SigningKey.from_hex(OTHER).public.multikey in shown.stderr
    assert "AtprotoLabeler" in shown.stderr
    assert "nothing to change" not in shown.stderr  # neither the document nor a declaration is there to be changed
    assert OTHER not in shown.output


async def test_p41_p89_a_did_web_of_our_own_is_believed_also_with_a_new_key(
    tmp_path: Path, techno: np.ndarray[Any, Any]
) -> None:
    """Its document is ours to serve, so that a new key needs nobody else; what the old one signed is signed anew."""
    file = tmp_path / "label.key"
    file.write_text(OTHER)
    file.chmod(0o600)
    words = {"EARMARK_LABELER__KEY": "", "EARMARK_LABELER__KEY_FILE": str(file)}
    async with joined(tmp_path) as (network, settings):
        own = turned(settings, did=f"did:web:localhost%3A{settings.service.port}")
        serving, artist = turned(own, key=None, key_file=file), network.create_account("artist.test")
        async with running(network, serving, artist) as live:
            await live.ended(live.track(wav(techno)))
            assert wrong(await ask(own, "check", "--json", **words)) == []
        rotated = await ask(own, "key", "rotate", "--json", **words)
        assert file.read_text() != OTHER
        assert orjson.loads(rotated.stdout)["multikey"] == SigningKey.from_hex(file.read_text()).public.multikey
        async with running(network, serving, artist):
            for _ in range(60):  # nothing is signed anew before the service has seen its key in its document
                checked = await ask(own, "check", **words)
                if checked.stdout.count("the first label verifies") == 2:
                    break
                await asyncio.sleep(0.5)
            assert checked.stdout.count("the first label verifies") == 2


async def test_rotate_wants_the_service_stopped_and_a_key_in_a_file(tmp_path: Path) -> None:
    async with joined(tmp_path) as (network, settings):
        assert isinstance((await ask(settings, "key", "rotate")).exception, Misconfigured)
        file = tmp_path / "label.key"
        assert settings.labeler.key is not None
        file.write_text(settings.labeler.key.get_secret_value())
        file.chmod(0o600)
        both = await ask(settings, "key", "rotate", EARMARK_LABELER__KEY_FILE=str(file))
        assert isinstance(both.exception, Misconfigured)  # the service would go on with the one in the environment
        async with running(network, settings):
            environment = {"EARMARK_STORAGE__FOLDER": str(settings.data), "EARMARK_LABELER__KEY_FILE": str(file)}
            words = ["labeler", "key", "rotate"]
            refused = await asyncio.to_thread(CliRunner().invoke, cli, words, env=environment)
        assert refused.exit_code == 3
        assert list(tmp_path.glob("label.key*")) == [file]


@pytest.fixture(scope="module")
def techno() -> np.ndarray[Any, Any]:
    from earmark.demo import music

    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    return music.compose(piece)[: 12 * 44_100]
