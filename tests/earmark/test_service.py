"""The whole service against the test network, in one process: every road that a record can take, bad input first."""

from __future__ import annotations

import asyncio
import io
import logging
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from core.config import Settings
from core.log import set_up
from core.types import AtUri
from earmark.compose import Service, build
from earmark.demo import DemoAccount, Network, music
from earmark.demo.publish import create_labeler, link_in_post
from earmark.demo.show import demo_settings, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACK = "fm.plyr.track"
POST = "app.bsky.feed.post"


def wav(samples: np.ndarray[Any, Any], rate: int = 44_100) -> bytes:
    """16-bit PCM of mono or stereo samples in -1..1."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


@pytest.fixture(scope="module")
def techno() -> np.ndarray[Any, Any]:
    """Twelve seconds of four on the floor: gets the label `electronic`."""
    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    return music.compose(piece)[: 12 * 44_100]


class Live:
    """A network, a service that follows it, and short ways to do and to ask things."""

    def __init__(self, network: Network, service: Service, folder: Path, artist: DemoAccount | None = None) -> None:
        self.network, self.service, self.folder = network, service, folder
        self.url = service.settings.public_url
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0)
        self.artist: DemoAccount = artist or network.create_account("artist.test")

    def track(self, audio: bytes, *, mime: str = "audio/wav", title: str = "A title", **fields: Any) -> AtUri:
        blob = self.network.upload_blob(self.artist, audio, mime)
        record = {"title": title, "artist": "Artist", "fileType": "wav", "createdAt": "2026-11-20T10:00:00Z"}
        return self.network.create_record(self.artist, TRACK, None, record | {"audioBlob": blob} | fields)

    async def report(self, uri: AtUri) -> dict[str, Any]:
        answer = await self.client.get("/api/track", params={"uri": str(uri)})
        return answer.json() if answer.status_code == 200 else {"state": None}

    async def until(self, check: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
        for _ in range(int(seconds / 0.05)):
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"never came true; last: {await check()}")

    async def ended(self, uri: AtUri) -> dict[str, Any]:
        async def check() -> dict[str, Any] | None:
            report = await self.report(uri)
            done = report["state"] in ("ready", "undecided", "refused", "withdrawn")
            return report if done and (report["verdict"] or {}).get("published") else None

        found: dict[str, Any] = await self.until(check)
        return found

    async def labels(self, uri: AtUri) -> dict[str, bool]:
        """val -> whether it is negated, from queryLabels."""
        answer = await self.client.get("/xrpc/com.atproto.label.queryLabels", params={"uriPatterns": str(uri)})
        return {label["val"]: label.get("neg", False) for label in answer.json()["labels"]}

    async def feed(self, rkey: str = "dance-floor") -> list[str]:
        """All posts of a feed. The snapshot may be a second old."""
        did = self.service.settings.publisher_did
        uri = f"at://{did}/app.bsky.feed.generator/{rkey}"
        answer = await self.client.get("/xrpc/app.bsky.feed.getFeedSkeleton", params={"feed": uri, "limit": "100"})
        return [entry["post"] for entry in answer.raise_for_status().json()["feed"]]

    def post(self, uri: AtUri, way: int = 0, author: DemoAccount | None = None) -> AtUri:
        author = author or self.artist
        cid = self.artist.repo.records[f"{uri.collection}/{uri.rkey}"].cid_text
        return self.network.create_record(
            author,
            POST,
            None,
            link_in_post("A title", uri, cid, way, page=f"https://plyr.fm/{uri}")
            | {"createdAt": "2026-11-20T10:00:01Z"},
        )


@asynccontextmanager
async def joined(folder: Path, **changes: Any) -> AsyncIterator[tuple[Network, Settings]]:
    """A test network, and settings of a service that joins it and keeps its state in `folder`."""
    async with Network() as network:
        labeler = create_labeler(network)
        settings = demo_settings(Settings.load(), network, labeler, folder=folder, port=free_port(0))
        update = {
            "feeds": settings.feeds.model_copy(update={"settle_seconds": 0.3}),
            "listening": settings.listening.model_copy(update={"children": 1}),
            "queue": settings.queue.model_copy(update={"retry_seconds": 0.2, "max_attempts": 3}),
        }
        settings = settings.model_copy(update=update | changes)
        url = settings.public_url
        network.set_services(labeler.account, label_key=labeler.account.label_key, labeler=url, feeds=url)
        yield network, settings


@asynccontextmanager
async def running(network: Network, settings: Settings, artist: DemoAccount | None = None) -> AsyncIterator[Live]:
    """The service, from ready to stopped."""
    service = build(settings, log=set_up(level="critical"))
    stop = asyncio.Event()
    serving = asyncio.create_task(service.run(stop))
    waiting = asyncio.create_task(service.ready.wait())
    try:
        await asyncio.wait([serving, waiting], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert not serving.done(), serving.exception()
        live = Live(network, service, settings.data, artist)
        async with live.client:
            yield live
    finally:
        stop.set()
        waiting.cancel()
        await asyncio.wait_for(serving, 15)
        logging.getLogger("earmark").setLevel("INFO")


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[Live]:
    async with joined(folder, **changes) as (network, settings), running(network, settings) as live:
        yield live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    async with opened(tmp_path_factory.mktemp("service")) as live:
        yield live
        assert list((live.folder / "listening").iterdir()) == [], "audio stays on disk"


async def test_a_track_gets_its_label_and_its_place(live: Live, techno: np.ndarray[Any, Any]) -> None:
    uri = live.track(wav(techno))
    post = live.post(uri)
    report = await live.ended(uri)
    assert (report["state"], report["verdict"]["labels"]) == ("ready", ["electronic"])
    assert await live.labels(uri) == {"electronic": False}

    async def shown() -> bool:
        return str(post) in await live.feed()

    await live.until(shown)
    assert str(post) not in await live.feed("calm")


async def test_players_find_the_audio_where_its_artist_keeps_it_and_readers_learn_why(
    live: Live, techno: np.ndarray[Any, Any]
) -> None:
    audio = wav(techno * 0.95)
    another = live.network.create_account("player.test")  # a feed shows one track of an artist among ten
    theirs = live.network.upload_blob(another, audio, "audio/wav")
    record = {"title": "Enclosed", "artist": "Artist", "fileType": "wav", "createdAt": "2026-11-20T10:00:00Z"}
    uri = live.network.create_record(another, TRACK, None, record | {"audioBlob": theirs})
    cid = another.repo.records[f"{uri.collection}/{uri.rkey}"].cid_text
    text = link_in_post("Enclosed", uri, cid, 0, page=f"https://plyr.fm/{uri}")
    post = live.network.create_record(another, POST, None, text | {"createdAt": "2026-11-20T10:00:01Z"})
    await live.ended(uri)

    async def shown() -> bool:
        return str(post) in await live.feed()

    await live.until(shown)
    lines = (await live.client.get("/feeds/dance-floor.m3u")).raise_for_status().text.splitlines()
    address = lines[lines.index("#EXTINF:12,Artist - Enclosed") + 1]
    assert (await live.client.get(address)).content == audio

    feed = f"at://{live.service.settings.publisher_did}/app.bsky.feed.generator/dance-floor"
    page = await live.client.get("/xrpc/app.bsky.feed.getFeedSkeleton", params={"feed": feed})
    context = next(entry["feedContext"] for entry in page.json()["feed"] if entry["post"] == str(post))
    params = {"feed": feed, "uri": str(post), "feedContext": context}
    method = f"{live.service.settings.authority}.getFeedExplain"
    told = (await live.client.get(f"/xrpc/{method}", params=params)).raise_for_status().json()
    assert (told["uri"], told["said"]["reason"], told["reason"]) == (str(uri), "mood", "mood")


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (b"<html>not audio</html>" * 100, "not_audio"),
        (b"", "no_audio"),  # a blob reference of no bytes is not one (P185)
        (wav(np.zeros(44_100 * 2)), "too_short"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" + b"\x00" * 50, None),
    ],
    ids=["html", "empty", "two-seconds", "mp3-stub"],
)
async def test_bad_audio_ends_in_a_typed_reason(live: Live, audio: bytes, reason: str | None) -> None:
    report = await live.ended(live.track(audio, title=f"bad {reason}"))
    assert report["state"] == "refused"
    assert report["job"]["state"] == "dead"
    assert report["job"]["reason"] == report["reason"]
    assert report["reason"] == reason or (reason is None and report["reason"])
    assert report["labels"] == []


async def test_silence_is_heard_and_gets_nothing(live: Live) -> None:
    report = await live.ended(live.track(wav(np.zeros(44_100 * 6))))
    assert (report["state"], report["reason"]) == ("undecided", "silence")
    assert report["labels"] == []


async def test_mime_that_lies_is_analysed_by_content(live: Live, techno: np.ndarray[Any, Any]) -> None:
    report = await live.ended(live.track(wav(techno * 0.9), mime="audio/mpeg"))
    assert report["verdict"]["labels"] == ["electronic"]
    assert report["verdict"]["notes"] == ["declared as audio/mpeg, is wav"]


async def test_p182_bytes_that_do_not_match_their_cid(live: Live, techno: np.ndarray[Any, Any]) -> None:
    audio = wav(techno * 0.8)
    blob = live.network.upload_blob(live.artist, audio, "audio/wav")
    other = wav(techno * 0.7)
    assert len(other) == len(audio)
    live.network.corrupt_blob(blob["ref"]["$link"], other)
    report = await live.ended(live.track(audio))
    assert (report["state"], report["reason"], report["labels"]) == ("refused", "blob_mismatch", [])


async def test_p186_a_blob_that_is_gone(live: Live, techno: np.ndarray[Any, Any]) -> None:
    audio = wav(techno * 0.6)
    live.network.remove_blob(live.network.upload_blob(live.artist, audio, "audio/wav")["ref"]["$link"])
    report = await live.ended(live.track(audio))
    assert (report["state"], report["reason"]) == ("refused", "blob_gone")


async def test_a_record_without_audio(live: Live) -> None:
    record = {"title": "words", "artist": "A", "fileType": "mp3", "createdAt": "2026-11-20T10:00:00Z"}
    uri = live.network.create_record(live.artist, TRACK, None, record)
    report = await live.ended(uri)
    assert (report["state"], report["reason"]) == ("refused", "no_audio")
    assert (report["job"]["state"], report["job"]["reason"]) == ("dead", "no_audio")
    # An address that the collection does not vouch for is no audio either: it is never called (P191).
    evil = live.network.create_record(live.artist, TRACK, None, record | {"audioUrl": "http://169.254.169.254/x.mp3"})
    assert (await live.ended(evil))["reason"] == "no_audio"


async def test_p135_a_frame_that_is_not_cbor_does_not_stop_the_service(
    live: Live, techno: np.ndarray[Any, Any]
) -> None:
    live.network.emit_raw_frame(b"\xff\x00garbage")
    uri = live.track(wav(techno * 0.5))
    assert (await live.ended(uri))["state"] == "ready"


async def test_gate_and_unlisted_are_not_fetched_not_labelled_not_shown(
    live: Live, techno: np.ndarray[Any, Any]
) -> None:
    audio = wav(techno * 0.55)
    gated = live.track(audio, title="gated", supportGate={"$type": "fm.plyr.track#supportGate", "type": "copyright"})
    rkey = live.network.new_rkey()
    unlisted = AtUri(live.artist.did, AtUri.parse(f"at://{live.artist.did}/{TRACK}/{rkey}").collection, rkey)
    live.network.set_visibility(unlisted, "unlisted")
    blob = live.network.upload_blob(live.artist, audio, "audio/wav")
    record = {"title": "unlisted", "artist": "A", "fileType": "wav", "createdAt": "2026-11-20T10:00:00Z"}
    live.network.create_record(live.artist, TRACK, rkey, record | {"audioBlob": blob})
    posts = {str(live.post(gated)), str(live.post(unlisted))}
    assert [(await live.ended(uri))["reason"] for uri in (gated, unlisted)] == ["gated", "not_public"]
    assert [await live.labels(uri) for uri in (gated, unlisted)] == [{}, {}]
    await asyncio.sleep(1.0)  # two rankings
    assert not posts & set(await live.feed())
    for uri in (gated, unlisted):
        report = await live.report(uri)
        assert (report["title"], report["posts"]) == (None, [])


async def test_no_answer_on_visibility_means_no_label_and_a_retry(live: Live, techno: np.ndarray[Any, Any]) -> None:
    live.network.switches.visibility_down = True
    uri = live.track(wav(techno * 0.45))

    async def tried() -> bool:
        report = await live.report(uri)
        # More attempts than max_attempts: the artist's wish is asked for until it is known.
        return bool(report.get("job")) and report["job"]["attempt"] > 3 and report["reason"] == "visibility_unanswered"

    await live.until(tried)
    assert await live.labels(uri) == {}
    live.network.switches.visibility_down = False
    assert (await live.ended(uri))["verdict"]["labels"] == ["electronic"]


async def test_pds_trouble_is_retried_then_put_off_with_its_reason(live: Live, techno: np.ndarray[Any, Any]) -> None:
    live.network.switches.pds_down = True
    try:
        report = await live.ended(live.track(wav(techno * 0.35)))
    finally:
        live.network.switches.pds_down = False
    assert report["reason"].startswith("exhausted:")
    assert (report["job"]["state"], report["job"]["reason"]) == ("ready", report["reason"])  # in six hours again


async def test_p155_a_deleted_record_loses_labels_and_place(live: Live, techno: np.ndarray[Any, Any]) -> None:
    uri = live.track(wav(techno * 0.65))
    live.post(uri)
    await live.ended(uri)
    live.network.delete_record(live.artist, TRACK, uri.rkey)

    async def negated() -> bool:
        return await live.labels(uri) == {"electronic": True}

    await live.until(negated)
    report = await live.report(uri)
    assert (report["state"], report["title"]) == ("withdrawn", "")


async def test_a_gate_that_comes_later_takes_the_labels_back(live: Live, techno: np.ndarray[Any, Any]) -> None:
    uri = live.track(wav(techno * 0.66))
    await live.ended(uri)
    record = dict(live.artist.repo.records[f"{uri.collection}/{uri.rkey}"].value)
    live.network.update_record(live.artist, TRACK, uri.rkey, record | {"supportGate": {"type": "any"}})

    async def negated() -> bool:
        return await live.labels(uri) == {"electronic": True}

    await live.until(negated)
    live.network.update_record(live.artist, TRACK, uri.rkey, record | {"title": "open again"})

    async def back() -> bool:
        return await live.labels(uri) == {"electronic": False}

    await live.until(back)


async def test_new_words_do_not_fetch_the_audio_again(live: Live, techno: np.ndarray[Any, Any]) -> None:
    audio = wav(techno * 0.67)
    uri = live.track(audio)
    await live.ended(uri)
    record = dict(live.artist.repo.records[f"{uri.collection}/{uri.rkey}"].value)
    live.network.remove_blob(live.network.upload_blob(live.artist, audio, "audio/wav")["ref"]["$link"])
    live.network.update_record(live.artist, TRACK, uri.rkey, record | {"title": "A better title"})

    async def renamed() -> bool:
        report = await live.report(uri)
        return report["title"] == "A better title" and report["state"] == "ready"

    await live.until(renamed)
    assert await live.labels(uri) == {"electronic": False}


async def test_self_labelled_tracks_get_no_label_and_no_feed(live: Live, techno: np.ndarray[Any, Any]) -> None:
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "sexual"}]}
    uri = live.track(wav(techno * 0.68), labels=labels)
    post = live.post(uri)
    report = await live.ended(uri)
    assert (report["reason"], report["labels"]) == ("self_label", [])
    await asyncio.sleep(1.0)
    assert str(post) not in await live.feed()


async def test_p151_an_account_that_goes_away_takes_its_tracks_out_and_back(
    live: Live, techno: np.ndarray[Any, Any]
) -> None:
    first, live.artist = live.artist, live.network.create_account("other.test")
    other = live.artist
    try:
        uri = live.track(wav(techno * 0.69), title="By another artist")
        post = str(live.post(uri))
        await live.ended(uri)
        await live.until(lambda: _contains(live, post))
        live.network.set_account_status(other, False, "takendown")
        await live.until(lambda: _lacks(live, post))
        assert await live.labels(uri) == {"electronic": False}  # kept while merely away (P39)
        report = await live.report(uri)
        assert (report["title"], report["posts"], report["verdict"]["genres"]) == (None, [], [])
        live.network.set_account_status(other, True)
        await live.until(lambda: _contains(live, post))
        live.network.set_account_status(other, False, "deleted")

        async def negated() -> bool:
            return await live.labels(uri) == {"electronic": True}

        await live.until(negated)
        await live.until(lambda: _lacks(live, post))
    finally:
        live.artist = first


@pytest.mark.parametrize("way", ["app.bsky.actor.profile", "app.bsky.graph.block", "example.earmark.optout"])
async def test_an_artist_who_opts_out_is_forgotten_and_may_come_back(
    live: Live, techno: np.ndarray[Any, Any], way: str
) -> None:
    first, live.artist = live.artist, live.network.create_account(f"{way.rpartition('.')[2]}.test")
    profile = {"labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "no-auto-label"}]}}
    record = {"profile": profile, "block": {"subject": live.service.labelling.enrolment.did}}.get(
        way.rpartition(".")[2], {}
    )
    try:
        uri = live.track(wav(techno * 0.71))
        assert (await live.ended(uri))["state"] == "ready"
        wish = live.network.create_record(live.artist, way, None if "block" in way else "self", record)

        async def negated() -> bool:
            return await live.labels(uri) == {"electronic": True}

        await live.until(negated)
        report = await live.report(uri)
        assert (report["state"], report["reason"], report["title"]) == ("refused", "opted_out", None)
        live.network.delete_record(live.artist, way, wish.rkey)

        async def restored() -> bool:
            return await live.labels(uri) == {"electronic": False}

        await live.until(restored, seconds=100.0)  # a repository that was walked a moment ago gets a rest first
    finally:
        live.artist = first


async def _contains(live: Live, post: str) -> bool:
    return post in await live.feed()


async def _lacks(live: Live, post: str) -> bool:
    return post not in await live.feed()


async def test_health_metrics_and_did_document(live: Live) -> None:
    health = (await live.client.get("/xrpc/_health")).json()
    assert health["version"]
    metrics = (await live.client.get("/metrics")).text
    assert 'earmark_jobs_total{outcome="ok"' in metrics
    assert "did:plc" not in metrics
    document = (await live.client.get("/.well-known/did.json")).json()
    assert document["id"] == live.service.settings.service_did
    described = (await live.client.get("/xrpc/app.bsky.feed.describeFeedGenerator")).json()
    assert described["did"] == document["id"]


async def test_upstream_unreachable_serves_what_it_has_and_says_so(
    tmp_path: Path, techno: np.ndarray[Any, Any]
) -> None:
    """A restart with the relay gone: labels and health are served, the status page names the trouble."""
    async with opened(tmp_path) as live:
        uri = live.track(wav(techno))
        await live.ended(uri)
        settings = live.service.settings
    dead = settings.model_copy(
        update={
            "source": settings.source.model_copy(update={"urls": ("ws://127.0.0.1:9",)}),
            "network": settings.network.model_copy(update={"plc_url": "http://127.0.0.1:9"}),
        }
    )
    service = build(dead, log=set_up(level="critical"))
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await asyncio.wait_for(service.ready.wait(), 60)
    async with httpx.AsyncClient(base_url=dead.public_url, trust_env=False) as client:
        assert (await client.get("/xrpc/_health")).status_code == 200
        rows = (await client.get("/xrpc/com.atproto.label.queryLabels", params={"uriPatterns": str(uri)})).json()
        assert [row["val"] for row in rows["labels"]] == ["electronic"]
        status: dict[str, Any] = {}
        for _ in range(100):
            status = (await client.get("/api/status")).json()
            if status["sources"][0]["last_error"]:
                break
            await asyncio.sleep(0.05)
        assert not status["sources"][0]["connected"]
        assert status["sources"][0]["last_error"]
        assert "waiting to verify" in status["mode"]
    stop.set()
    await asyncio.wait_for(running, 15)


async def test_a_record_that_names_somebody_elses_audio_learns_nothing_of_it(live: Live, techno: Any) -> None:
    """Its own host has no such blob, so that it is not heard, whatever is known of the recording."""
    blob = live.network.upload_blob(live.artist, wav(techno[: 8 * 44_100]), "audio/wav")
    record = {"title": "Mine", "artist": "Artist", "fileType": "wav", "createdAt": "2026-11-20T10:00:00Z"}
    own = live.network.create_record(live.artist, TRACK, None, record | {"audioBlob": blob})
    assert (await live.ended(own))["state"] == "ready"
    thief = live.network.create_account("thief.test")
    copied = live.network.create_record(thief, TRACK, None, record | {"title": "Not mine", "audioBlob": blob})
    report = await live.ended(copied)
    assert (report["state"], report["reason"]) == ("refused", "blob_gone")
    assert report["analysis"] is None
    assert await live.labels(copied) == {}
    live.network.upload_blob(thief, wav(techno[: 8 * 44_100]), "audio/wav")
    again = live.network.create_record(thief, TRACK, None, record | {"title": "Bought", "audioBlob": blob})
    assert (await live.ended(again))["labels"] != []


async def test_P169_P174_what_a_jetstream_tells_is_proven_before_anything_is_said(tmp_path: Path, techno: Any) -> None:
    """A record that its host knows nothing of gets no label, whatever the stream says."""
    async with joined(tmp_path) as (network, settings):
        source = settings.source.model_copy(update={"kind": "jetstream"})
        async with running(network, settings.model_copy(update={"source": source})) as live:
            uri = live.track(wav(techno))
            assert (await live.ended(uri))["labels"] != []
            refused = network.create_account("refused.test")
            live.artist = refused
            network.create_record(
                refused,
                "app.bsky.actor.profile",
                "self",
                {"labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "no-auto-label"}]}},
            )
            said_no = live.track(wav(techno))
            report = await live.ended(said_no)
            assert (report["state"], report["reason"], report["labels"]) == ("refused", "opted_out", [])

            other = network.create_account("other.test")
            rkey, head = network.new_rkey(), other.repo.head
            invented = AtUri(other.did, uri.collection, rkey)
            stored = network.accounts[1].repo.records[f"{uri.collection}/{uri.rkey}"]
            told = {"rev": head.rev, "operation": "create", "collection": TRACK, "rkey": rkey}
            told |= {"record": stored.value, "cid": stored.cid_text}
            network._log.add("#commit", other.did, head.to_wire(other.did), [("commit", told)])
            report = await live.ended(invented)
            assert (report["state"], report["labels"], report["title"]) == ("withdrawn", [], "")
