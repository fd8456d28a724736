"""The service beside the network: how it is configured for it, run, and asked what it made of what happened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from pydantic import SecretStr

from core.config import Settings
from core.keys import SigningKey
from core.log import set_up
from core.types import AtUri
from earmark.compose import build
from earmark.demo.show import free_port
from labeler.frames import LabelsFrame, read_frame
from labeler.signing import verify

ENDED = ("ready", "undecided", "refused", "withdrawn")
SKELETON = "app.bsky.feed.getFeedSkeleton"
PATIENCE_SECONDS = 90.0  # more than the minute that a repository rests between two walks


def follow(
    folder: Path, *, home: Path, stream: str, relay: str, begin: str, plc: str, plyr: str, did: str, secret: str
) -> Settings:
    """Settings of a service that reads this stream, of a PDS if there is no relay; limits for a handful of tracks.

    Its address has a name: a PDS sends reports to no address that is a number.
    """
    port = free_port(0)
    return Settings.load(
        home=home,
        storage={"folder": folder},
        service={"port": port, "public_url": f"http://localhost:{port}"},
        source={"kind": "relay", "urls": (stream,), "begin": begin, "likes": True, "direct": not relay},
        network={"plc_url": plc, "plyr_url": plyr, "relay_url": relay},
        labeler={"did": did, "key": SecretStr(secret), "labels_per_second": 0},
        feeds={"min_posts": 1, "min_tracks": 1, "min_seconds": 10.0, "settle_seconds": 0.3},
        listening={"children": 1, "packs": ("musicnn",)},
        queue={"retry_seconds": 0.5},
        development={"allow_loopback": True},
    )


def environment(settings: Settings) -> dict[str, str]:
    """In which a verb has the same settings, as far as it needs them: not the key."""
    said = {"EARMARK_HOME": str(settings.home)}
    for section, values in settings.model_dump(mode="json", exclude_unset=True, exclude={"labeler": {"key"}}).items():
        if isinstance(values, dict):
            for name, value in values.items():
                said[f"EARMARK_{section}__{name}".upper()] = value if isinstance(value, str) else json.dumps(value)
    return os.environ | said


class Following:
    """A running service, asked over HTTP and over its label stream."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.public_url
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0)
        self.heard: list[dict[str, Any]] = []  # every label that the stream carried, in order

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Every label from the first on is heard within this; one whose signature does not hold fails it."""
        listening = asyncio.create_task(self._listen())
        try:
            yield
            assert not listening.done(), listening.exception()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self) -> None:
        assert self.settings.labeler.key is not None
        key = SigningKey.from_hex(self.settings.labeler.key.get_secret_value()).public
        url = f"{self.url}/xrpc/com.atproto.label.subscribeLabels"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, params={"cursor": "0"}) as socket:
            async for message in socket:
                frame = read_frame(message.data)
                assert isinstance(frame, LabelsFrame)
                for label in frame.labels:
                    assert verify(label, key), label
                    self.heard.append(dict(label))

    def in_force(self) -> set[tuple[str, str]]:
        """(record, value) of all that the stream says and has not taken back."""
        newest = {(label["uri"], label["val"]): label.get("neg", False) for label in self.heard}
        return {label for label, negated in newest.items() if not negated}

    def said(self, uri: AtUri) -> list[tuple[str, bool]]:
        """Every label that was ever sent for a record, (value, negated), oldest first: doubles would show."""
        return [(label["val"], label.get("neg", False)) for label in self.heard if label["uri"] == str(uri)]

    async def report(self, uri: AtUri) -> dict[str, Any]:
        answer = await self.client.get("/api/track", params={"uri": str(uri)})
        return answer.json() if answer.status_code == 200 else {"state": None, "verdict": None}

    async def until(self, check: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
        """What the check finds as soon as that is true."""
        for _ in range(int(seconds / 0.1)):
            if found := await check():
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"never came true; last: {await check()}")

    async def reports(self, uri: AtUri, check: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The track's report as soon as it is as wanted."""
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            report = await self.report(uri)
            if report["state"] is not None and check(report):
                return report
            await asyncio.sleep(0.1)
        raise AssertionError(f"never came true; last: {await self.report(uri)}")

    async def ended(self, uri: AtUri) -> dict[str, Any]:
        """The track's report once its story has ended and its labels are out."""
        return await self.reports(
            uri, lambda report: report["state"] in ENDED and (report["verdict"] or {}).get("published")
        )

    async def labels(self, uri: AtUri) -> dict[str, bool]:
        """val -> whether it is negated, from queryLabels."""
        answer = await self.client.get("/xrpc/com.atproto.label.queryLabels", params={"uriPatterns": str(uri)})
        return {label["val"]: label.get("neg", False) for label in answer.raise_for_status().json()["labels"]}

    async def labelled(self, uri: AtUri, labels: dict[str, bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Waits for exactly these."""

        async def there() -> bool:
            return await self.labels(uri) == labels

        await self.until(there, seconds)

    def feed_uri(self, rkey: str) -> str:
        return f"at://{self.settings.publisher_did}/app.bsky.feed.generator/{rkey}"

    async def feed(self, rkey: str = "fresh") -> list[str]:
        answer = await self.client.get(f"/xrpc/{SKELETON}", params={"feed": self.feed_uri(rkey), "limit": "100"})
        return [entry["post"] for entry in answer.raise_for_status().json()["feed"]]

    async def shows(self, post: AtUri, rkey: str = "fresh") -> None:
        async def there() -> bool:
            return str(post) in await self.feed(rkey)

        await self.until(there)

    async def hides(self, post: AtUri, rkey: str = "fresh") -> None:
        async def gone() -> bool:
            return str(post) not in await self.feed(rkey)

        await self.until(gone)


@contextlib.asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[Following]:
    """`earmark serve` as a process of its own, killed at the end."""
    assert settings.labeler.key is not None
    key = {"EARMARK_LABELER__KEY": settings.labeler.key.get_secret_value()}
    command = (sys.executable, "-m", "earmark.cli", "serve")
    serving = await asyncio.create_subprocess_exec(*command, env=environment(settings) | key)
    following = Following(settings)

    async def healthy() -> bool:
        assert serving.returncode is None
        with contextlib.suppress(httpx.TransportError):
            return (await following.client.get("/xrpc/_health")).status_code == 200
        return False

    try:
        await following.until(healthy)
        async with following.listening():
            yield following
    finally:
        serving.kill()
        await serving.wait()
        await following.client.aclose()


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Following]:
    """The service, from ready to stopped."""
    service = build(settings, log=set_up(level=settings.log.level))
    stop = asyncio.Event()
    serving = asyncio.create_task(service.run(stop))
    ready = asyncio.create_task(service.ready.wait())
    following = Following(settings)
    try:
        await asyncio.wait([serving, ready], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert not serving.done(), serving.exception()
        async with following.listening():
            yield following
    finally:
        ready.cancel()
        stop.set()
        await asyncio.wait_for(serving, 20)
        await following.client.aclose()
