"""Reads back what the service says, over the wire as a client would, and checks it: nothing is shown that was not.

Labels come over `subscribeLabels` and every signature is verified against the DID document of the directory; feeds
come over HTTP with a service token signed by a reader's account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx

from core.clock import Clock
from core.frames import BadFrame
from core.keys import PublicKey
from core.serviceauth import mint
from earmark.demo.account import DemoAccount
from labeler.frames import LabelsFrame, read_frame
from labeler.signing import verify

GET_FEED_SKELETON = "app.bsky.feed.getFeedSkeleton"


@dataclass(slots=True)
class Heard:
    """A label as it came over the stream: when (unix µs), and whether its signature holds."""

    label: dict[str, Any]
    seq: int
    received_us: int
    valid: bool


@dataclass(slots=True)
class LabelListener:
    """Subscribes from cursor 0 and keeps what arrives."""

    service_url: str
    directory_url: str
    labeler_did: str
    clock: Clock
    heard: list[Heard] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled or the service closes the stream. Raises if the stream is not what the protocol says."""
        key = await self._label_key()
        url = f"{self.service_url}/xrpc/com.atproto.label.subscribeLabels"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, params={"cursor": "0"}) as socket:
            async for message in socket:
                frame = read_frame(message.data)
                if not isinstance(frame, LabelsFrame):
                    raise BadFrame(f"the service sent {frame} on its label stream")
                now_us = self.clock.now_us()
                for label in frame.labels:
                    valid = label["src"] == self.labeler_did and verify(label, key)
                    self.heard.append(Heard(dict(label), frame.seq, now_us, valid))
                self._news.set()

    async def _label_key(self) -> PublicKey:
        async with httpx.AsyncClient(trust_env=False) as client:
            document = (await client.get(f"{self.directory_url}/{self.labeler_did}")).json()
        methods = {method["id"].rpartition("#")[2]: method for method in document["verificationMethod"]}
        return PublicKey.from_multikey(methods["atproto_label"]["publicKeyMultibase"])

    async def wait_for(self, uri: str) -> Heard:
        """The first label in force for a subject, as soon as there is one."""
        while not self.of(uri):
            self._news.clear()
            await self._news.wait()
        return self.of(uri)[0]

    def of(self, uri: str) -> list[Heard]:
        """What is in force for a subject: the newest of each value, without the retracted."""
        newest = {heard.label["val"]: heard for heard in self.heard if heard.label["uri"] == uri}
        return [heard for heard in newest.values() if not heard.label.get("neg")]


@dataclass(slots=True)
class FeedReader:
    """Fetches feeds page by page as the AppView does for a signed-in reader."""

    service_url: str
    service_did: str
    reader: DemoAccount
    clock: Clock

    async def described(self) -> list[str]:
        """At-uris of the feeds that the service says it has."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.service_url}/xrpc/app.bsky.feed.describeFeedGenerator")
        answer.raise_for_status()
        return [feed["uri"] for feed in answer.json()["feeds"]]

    async def posts(self, feed_uri: str, *, limit: int = 5) -> list[str]:
        """All post uris of a feed. Raises on any answer but 200."""
        posts: list[str] = []
        cursor: str | None = None
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(200):
                params = {"feed": feed_uri, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
                token = mint(
                    self.reader.key,
                    iss=self.reader.did,
                    aud=self.service_did,
                    lxm=GET_FEED_SKELETON,
                    now_us=self.clock.now_us(),
                )
                answer = await client.get(
                    f"{self.service_url}/xrpc/{GET_FEED_SKELETON}",
                    params=params,
                    headers={"Authorization": f"Bearer {token}"},
                )
                answer.raise_for_status()
                page = answer.json()
                posts += [entry["post"] for entry in page["feed"]]
                cursor = page.get("cursor")
                if cursor is None:
                    return posts
        raise TimeoutError(f"{feed_uri} does not end")


async def track_story(client: httpx.AsyncClient, service_url: str, uri: str) -> dict[str, Any] | None:
    """What `/api/track` says; None while the record was never seen."""
    answer = await client.get(f"{service_url}/api/track", params={"uri": uri})
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    story: dict[str, Any] = answer.json()
    return story


async def wait_until(check: Callable[[], Awaitable[bool]], *, seconds: float, pause: float = 0.1) -> bool:
    """Whether the check came true in time. It asks over HTTP, so there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await check():
            return True
        await asyncio.sleep(pause)
    return False
