"""The announcer: one post a new track of artists who asked for it, taken back when it must be (POSTS.md section 5).

What is to be posted is written down first, under a key that follows from the track: after a crash the same post is made
again, never another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.config import Settings
from core.errors import AppError, Misconfigured, Permanent
from core.log import Log
from core.ports import Directory, Prover, SafeHttp
from core.taxonomy import Taxonomy
from core.types import AtUri, Did
from earmark.announcement import announce_since, must_go, name_tags, standing_wishes, write_post
from earmark.announcement_round import Work, plan_work
from earmark.consenting import Consents
from earmark.publishing import picture_type, read_secret
from earmark.session import Refused, Session, open_session
from firehose.answers import check_answer
from firehose.guard import Guard
from firehose.handles import Handles
from store import Store, announcements, labels, tracks, wishes
from store.announcements import Announcement, AnnouncementState, AnnouncementWish

LOOK_EVERY_SECONDS = 300.0  # a session each, at most: a PDS opens 300 a day
MAX_THUMB_BYTES = 1_000_000  # app.bsky.embed.external
_UNACCEPTABLE = frozenset({"InvalidRequest", "InvalidRecord"})  # what our own host says of a post that it never takes
_COVERS = ("imageUrl", "coverArt", "image", "thumbnail", "thumb")  # of the collections that are mapped


class Announcer:
    """Of the account `announcer.did`."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        consents: Consents,
        *,
        http: SafeHttp,
        directory: Directory,
        prover: Prover,
        handles: Handles,
        guard: Guard,
        user_agent: str,
        taxonomy: Taxonomy,
        clock: Clock,
        log: Log,
    ) -> None:
        """Raises Misconfigured when the account would be the labeler's."""
        self._settings = settings.announcer
        self._did = Did(settings.announcer.did)
        if self._did in (settings.labeler.did, settings.service_did):
            raise Misconfigured("announcer.did", "must be another account than the labeler's (P27)")
        self._store = store
        self._consents = consents
        self._http = http
        self._directory = directory
        self._prover = prover
        self._handles = handles
        self._guard = guard
        self._user_agent = user_agent
        self._taxonomy = taxonomy
        self._clock = clock
        self._log = log

    async def run(self, password: Path) -> None:
        """Round after round until cancelled."""
        while True:
            try:
                await self.look(password)
            except AppError as error:  # the network, or what it said: the next round tries again
                self._log.warning("tracks could not be announced", reason=type(error).__name__, error=error)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def look(self, password: Path) -> Work:
        """One round; what it had to do. Raises Refused, Unreachable, RateLimited, Misconfigured, ..."""
        said = await self._consents.refresh()
        work = await plan_work(self._store, said, self._did, self._settings, now_us=self._clock.now_us())
        if not (work.post or work.take_back):
            return work
        pds = (await self._directory.resolve(self._did)).pds
        if pds is None:
            raise Misconfigured("announcer.did", f"{self._did} has no repository")
        async with open_session(pds, guard=self._guard, user_agent=self._user_agent) as session:
            await session.sign_in(self._did, read_secret(password, "announcer.password_file"))
            for one in work.take_back:
                await self._take_back(session, one)
            for one in work.post:
                try:
                    await self._post(session, one, said.get(one.did, ()))
                except Refused as error:
                    if error.name not in _UNACCEPTABLE:
                        raise
                    await self._forget(one)
                    self._log.warning("a track cannot be announced", uri=one.track_uri, error=error)
                except AppError as error:  # of this artist's host: others need not wait for it
                    self._log.info("a track is announced later", uri=one.track_uri, error=error)
        return work

    async def _post(self, session: Session, one: Announcement, said: Sequence[AnnouncementWish]) -> None:
        """Makes the post, unless the track has changed or gone, or its artist has just thought better of it."""
        stands = [wish for wish in standing_wishes(said) if await self._consents.still_says(wish)]
        proven = await self._prover.prove(AtUri.parse(one.track_uri))
        async with self._store.read() as reader:
            stored = await tracks.get(reader, one.track_uri)
            made = await announcements.of_artist(reader, one.did)
            verdict = await labels.get_verdict(reader, one.track_uri)
            standing = await wishes.of(reader, one.did)
        if proven.cid is None or must_go(stored, standing, announce_since(stands)):
            return  # the next round takes it back
        if stored is None or proven.cid != stored.track.cid or verdict is None:
            return  # another version is on its way here
        thread = _find_thread(one, made)
        if one.thread and thread is None:
            return  # what it continues is not there yet
        record = write_post(
            stored,
            handle=await self._handles.of(one.did),
            mention=any(wish.mention for wish in stands),
            tags=name_tags(verdict.verdict.labels, verdict.verdict.genres, self._taxonomy),
            thumb=await self._cover(session, one.did, proven.record or {}),
            thread=thread,
            now_us=self._clock.now_us(),
        )
        cid = await self._put(session, AtUri.parse(one.post_uri), record)
        async with self._store.write() as tx:
            await announcements.posted(tx, one.track_uri, cid)
        self._log.info("track announced", uri=one.track_uri, post=one.post_uri)

    async def _put(self, session: Session, uri: AtUri, record: Mapping[str, Any]) -> str:
        """The post's CID; that of the one which is there, if a crash came between making it and taking note."""
        body = {"repo": uri.did, "collection": uri.collection, "rkey": uri.rkey, "record": record, "swapRecord": None}
        try:
            return str((await session.call("com.atproto.repo.putRecord", body)).get("cid"))
        except Refused as error:
            if error.name != "InvalidSwap":
                raise
        there = await self._prover.prove(uri)
        if there.cid is None:
            raise Permanent(f"{uri} is there and is not")
        return there.cid

    async def _take_back(self, session: Session, one: Announcement) -> None:
        uri = AtUri.parse(one.post_uri)
        body = {"repo": uri.did, "collection": uri.collection, "rkey": uri.rkey}
        await session.call("com.atproto.repo.deleteRecord", body)  # also of one that is not there
        await self._forget(one)
        self._log.info("announcement taken back", uri=one.track_uri, post=one.post_uri)

    async def _forget(self, one: Announcement) -> None:
        async with self._store.write() as tx:
            await announcements.gone(tx, one.track_uri)

    async def _cover(self, session: Session, did: Did, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """The track's picture as a blob of ours; None if there is none that a card may have. A post goes without."""
        try:
            content = await self._fetch_cover(did, record)
            kind = picture_type(content) if content is not None else None
            return await session.upload(content, kind) if content is not None and kind is not None else None
        except AppError as error:
            self._log.info("an announcement has no picture", did=did, error=error)
            return None

    async def _fetch_cover(self, did: Did, record: Mapping[str, Any]) -> bytes | None:
        named = next((record[key] for key in _COVERS if record.get(key)), None)
        if isinstance(named, str) and named.startswith("https://"):
            return check_answer(await self._http.get(named, max_bytes=MAX_THUMB_BYTES))
        ref = named.get("ref") if isinstance(named, Mapping) else None
        cid = ref.get("$link") if isinstance(ref, Mapping) else None
        pds = (await self._directory.resolve(did)).pds if isinstance(cid, str) else None
        if pds is None:
            return None
        url = f"{pds}/xrpc/com.atproto.sync.getBlob"
        return check_answer(await self._http.get(url, params={"did": did, "cid": str(cid)}, max_bytes=MAX_THUMB_BYTES))


def _find_thread(one: Announcement, made: Sequence[Announcement]) -> dict[str, Any] | None:
    """What a post of an album's further track answers: the album's first post, and its last one so far."""
    if not one.thread:
        return None
    standing = [
        other
        for other in made
        if other.album == one.album and other.post_cid is not None and other.state is AnnouncementState.POSTED
    ]
    if not standing:
        return None
    root, parent = standing[0], standing[-1]
    return {
        "root": {"uri": root.post_uri, "cid": root.post_cid},
        "parent": {"uri": parent.post_uri, "cid": parent.post_cid},
    }
