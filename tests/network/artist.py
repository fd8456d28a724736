"""Somebody who publishes music from a PDS, with posts that link it."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.types import AtUri, Cid
from earmark.demo.publish import link_in_post
from tests.earmark.test_service import wav
from tests.network.pds import Account, Pds, Record

TRACK = "fm.plyr.track"
POST = "app.bsky.feed.post"
CREATED = "2026-11-20T10:00:00Z"


class Artist:
    """An account and what it does."""

    def __init__(self, pds: Pds, account: Account) -> None:
        self.pds, self.account = pds, account

    async def record(self, samples: np.ndarray[Any, Any], title: str = "") -> Record:
        """A track record whose audio is uploaded, and not yet referenced by anything."""
        return await self.record_of(wav(samples), "wav", title)

    async def record_of(self, audio: bytes, kind: str, title: str = "") -> Record:
        """The same for a file; the PDS finds out by itself what type it is. Without a title it gets the artist's own:
        what sounds the same and is named the same is one recording to feeds.
        """
        blob = await self.pds.upload(self.account, audio)
        title = title or f"A title by {self.account.did[8:20]}"
        return {"title": title, "artist": "Artist", "fileType": kind, "audioBlob": blob, "createdAt": CREATED}

    async def track(self, samples: np.ndarray[Any, Any], title: str = "") -> AtUri:
        return await self.pds.create(self.account, TRACK, await self.record(samples, title))

    async def post(self, uri: AtUri, way: int = 0, cid: str = "") -> AtUri:
        """A post that links a track: `way` 0 embeds the record, 3 writes the address of its page. The record's CID is
        looked up here unless it is given.
        """
        cid = cid or (await self.pds.get(uri))["cid"]
        link = link_in_post("A title", uri, Cid(cid), way, page=f"https://plyr.fm/{uri}")
        return await self.pds.create(self.account, POST, link | {"createdAt": CREATED})

    async def like(self, uri: AtUri, cid: str) -> AtUri:
        record = {"subject": {"uri": str(uri), "cid": cid}, "createdAt": CREATED}
        return await self.pds.create(self.account, "app.bsky.feed.like", record)

    async def change(self, uri: AtUri, **fields: Any) -> None:
        """The same record with other values."""
        value = (await self.pds.get(uri))["value"]
        await self.pds.put(self.account, uri, value | fields)


def blob_cid(record: Record) -> str:
    cid: str = record["audioBlob"]["ref"]["$link"]
    return cid
