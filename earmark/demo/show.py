"""The demonstration: network up, service up, music out, wait, read back, tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr

from core.clock import Clock, SystemClock
from core.config import Settings
from core.errors import AppError
from core.log import Log
from earmark.compose import Service, build
from earmark.demo.network import Network
from earmark.demo.publish import Labeler, Published, Recording, create_labeler, publish
from earmark.demo.readback import FeedReader, LabelListener, track_story, wait_until
from earmark.demo.world import TRACK_COLLECTION

T = TypeVar("T")
ENDED = ("ready", "undecided", "refused", "withdrawn")
Progress = Callable[[str, int, int], None]  # what, done, of


class DemoFailed(AppError):
    """Something that the demo promises did not happen; the message says what."""


@dataclass(slots=True)
class Shown:
    """What the demo found, in the form of `--json`."""

    tracks: list[dict[str, Any]] = field(default_factory=list)
    feeds: list[dict[str, Any]] = field(default_factory=list)
    verified: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"tracks": self.tracks, "feeds": self.feeds, "verified": self.verified, "addresses": self.addresses}


def demo_settings(base: Settings, network: Network, labeler: Labeler, *, folder: Path, port: int) -> Settings:
    """The person's settings turned to the test network. Limits that make no sense for a handful of tracks are off."""

    def change(section: str, **values: Any) -> Any:
        return getattr(base, section).model_copy(update=values)

    sections = {
        "storage": change("storage", folder=folder),
        "service": change("service", host="127.0.0.1", port=port, public_url=""),
        "source": change(
            "source",
            kind="relay",
            urls=(network.stream_url,),
            collections=(TRACK_COLLECTION,),
            begin="oldest",
            posts=True,
        ),
        "network": change("network", relay_url=network.url, plc_url=network.url, plyr_url=network.visibility_url),
        "labeler": change(
            "labeler",
            did=labeler.account.did,
            key=SecretStr(labeler.secret_hex),
            key_file=None,
            labels_per_second=0,
        ),
        "feeds": change(
            "feeds", publisher_did="", service_did="", min_posts=1, min_tracks=1, min_seconds=10.0, settle_seconds=1.0
        ),
        "development": change("development", allow_loopback=True),
    }
    return base.model_copy(update=sections)


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise DemoFailed("no free port on 127.0.0.1")


class Demo:
    """One run: the embedded network, the service, and what was published. Use as `async with Demo.opened(...)`."""

    def __init__(self, network: Network, service: Service, labeler: Labeler, clock: Clock) -> None:
        self.network, self.service, self.labeler, self.clock = network, service, labeler, clock
        self.url = service.settings.public_url
        self.listener = LabelListener(self.url, network.url, labeler.account.did, clock)

    @classmethod
    @asynccontextmanager
    async def opened(cls, base: Settings, log: Log, *, port: int = 8420) -> AsyncIterator[Demo]:
        """Network and service run inside; leaving stops both and removes everything on disk but the model pack."""
        clock = SystemClock()
        with tempfile.TemporaryDirectory(prefix="earmark-demo-") as folder:
            async with Network() as network:
                labeler = create_labeler(network)
                settings = demo_settings(base, network, labeler, folder=Path(folder), port=free_port(port))
                url = settings.public_url
                network.set_services(labeler.account, label_key=labeler.account.label_key, labeler=url, feeds=url)
                service = build(settings, log=log, clock=clock)
                demo = cls(network, service, labeler, clock)
                stop = asyncio.Event()
                running = asyncio.create_task(service.run(stop))
                listening: asyncio.Task[None] | None = None
                try:
                    await _first(service.ready.wait(), running)
                    listening = asyncio.create_task(demo.listener.run())
                    yield demo
                finally:
                    if listening is not None:
                        listening.cancel()
                        with contextlib.suppress(asyncio.CancelledError, OSError):
                            await listening
                    stop.set()
                    await running

    async def show(self, recordings: Sequence[Recording], progress: Progress, *, seconds: float) -> Shown:
        """Publish, wait until every track's story has ended and the feeds know it, read everything back."""
        published = await publish(self.network, recordings, clock=self.clock)
        public = [track for track in published if not track.hidden]
        hidden = [track for track in published if track.hidden]
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
            stories = await self._wait(client, published, progress, seconds)
            feeds = await self._read_feeds()
        shown = Shown(feeds=feeds)
        posts = {feed["uri"]: set(feed["items"]) for feed in feeds}
        for track in public:
            shown.tracks.append(self._told(track, stories[str(track.uri)], posts))
        heard = self.listener.heard
        subjects = {label.label["uri"] for label in heard}
        expected = {str(track.uri): set(stories[str(track.uri)]["verdict"]["labels"]) for track in public}
        live = {uri: {label.label["val"] for label in self.listener.of(uri)} for uri in expected}
        known = {str(track.post) for track in public}
        shown.verified = {
            "labels": len(heard),
            "signatures_ok": all(label.valid for label in heard) and live == expected,
            "feeds_ok": all(items <= known for items in posts.values()),
            "hidden_ok": not any(str(track.uri) in subjects for track in hidden)
            and not any(str(track.post) in items for track in hidden for items in posts.values()),
        }
        shown.addresses = self._addresses(public)
        return shown

    async def _wait(
        self, client: httpx.AsyncClient, published: Sequence[Published], progress: Progress, seconds: float
    ) -> dict[str, dict[str, Any]]:
        """The stories of all tracks once they have ended, labels included. Raises DemoFailed when they do not."""
        stories: dict[str, dict[str, Any]] = {}

        async def all_ended() -> bool:
            for track in published:
                uri = str(track.uri)
                if uri in stories:
                    continue
                story = await track_story(client, self.url, uri)
                if story is not None and self._has_ended(story):
                    stories[uri] = story
            progress("listening", len(stories), len(published))
            return len(stories) == len(published)

        if not await wait_until(all_ended, seconds=seconds, pause=0.25):
            waiting = ", ".join(track.title for track in published if str(track.uri) not in stories)
            raise DemoFailed(f"after {seconds:.0f} s these had no result: {waiting}")
        return stories

    def _has_ended(self, story: dict[str, Any]) -> bool:
        verdict = story["verdict"]
        if story["state"] not in ENDED or verdict is None or not verdict["published"]:
            return False
        live = {label.label["val"] for label in self.listener.of(story["uri"])}
        return live == set(verdict["labels"])

    async def _read_feeds(self) -> list[dict[str, Any]]:
        """Every feed as a signed-in reader gets it, once the service has ranked all that ended."""
        reader = self.network.create_account("reader.test")
        feeds = FeedReader(self.url, self.service.settings.service_did, reader, self.clock)
        names = {feed.rkey: feed.display_name for feed in self.service.feeding.catalogue}
        rows: list[dict[str, Any]] = []

        async def read() -> bool:
            """Whether a settling time has changed nothing: rankings made before the last label are gone."""
            await asyncio.sleep(1.5)
            before = rows.copy()
            rows.clear()
            for uri in await feeds.described():
                items = await feeds.posts(uri)
                rows.append({"name": names[uri.rpartition("/")[2]], "uri": uri, "items": items})
            return bool(rows) and rows == before

        await wait_until(read, seconds=15.0)
        return rows

    def _told(self, track: Published, story: dict[str, Any], posts: dict[str, set[str]]) -> dict[str, Any]:
        arrived = [label.received_us for label in self.listener.of(str(track.uri))]
        seconds = (max(arrived) - track.committed_us) / 1e6 if arrived else None
        verdict = story["verdict"]
        return {
            "uri": str(track.uri),
            "title": track.title,
            "status": verdict["status"],
            "reason": story["reason"],
            "genres": verdict["genres"],
            "labels": sorted(label.label["val"] for label in self.listener.of(str(track.uri))),
            "feeds": [uri.rpartition("/")[2] for uri, items in posts.items() if str(track.post) in items],
            "seconds": None if seconds is None else round(seconds, 2),
        }

    def _addresses(self, public: Sequence[Published]) -> dict[str, str]:
        feed = f"at://{self.labeler.account.did}/app.bsky.feed.generator/{self.service.feeding.catalogue[0].rkey}"
        addresses = {
            "page": f"{self.url}/",
            "labels": f"{self.url}/xrpc/com.atproto.label.queryLabels?uriPatterns=*",
            "label_stream": f"{self.url.replace('http', 'ws', 1)}/xrpc/com.atproto.label.subscribeLabels?cursor=0",
            "feeds": f"{self.url}/xrpc/app.bsky.feed.describeFeedGenerator",
            "feed": f"{self.url}/xrpc/app.bsky.feed.getFeedSkeleton?feed={feed}",
            "did": f"{self.network.url}/{self.labeler.account.did}",
            "status": f"{self.url}/api/status",
            "metrics": f"{self.url}/metrics",
            "network": self.network.url,
        }
        if public:
            addresses["track"] = f"{self.url}/api/track?uri={public[0].uri}"
        return addresses


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work. Raises DemoFailed when somebody asks to stop before there is one."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    raise DemoFailed("stopped before it was done")


async def _first(waiting: Any, running: asyncio.Task[None]) -> None:
    """Waits until the service is ready; if it ends before, its error is raised here."""
    ready = asyncio.ensure_future(waiting)
    await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        running.result()
        raise DemoFailed("the service ended before it was ready")
