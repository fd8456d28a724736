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
from core.types import AtUri, Did, Nsid
from earmark.announcement import announce_since, must_go, name_tags, standing_wishes, write_post
from earmark.announcement_round import Work, find_first, plan_work, read_case
from earmark.consenting import Consents
from earmark.cover import fetch_cover
from earmark.publishing import read_secret
from earmark.report import is_public
from earmark.session import Refused, Session, open_session
from firehose.guard import Guard
from firehose.handles import Handles
from firehose.records import find_values
from store import Store, announcements
from store.announcements import Announcement, AnnouncementState

LOOK_EVERY_SECONDS = 300.0  # a session each, at most: a PDS opens 300 a day
POST_SECONDS = 180.0  # of a round
MAX_WISHES = 1_000  # records of one artist
PROFILE = Nsid("app.bsky.actor.profile")
BOT = "bot"  # a self-label that apps know
_UNACCEPTABLE = frozenset({"InvalidRequest", "InvalidRecord"})  # what our own host says of a post that it never takes


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
        self._tried: dict[str, float] = {}  # tracks that wait for their posts, and when each was last tried

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
            if work.post:
                await self._own_up(session)
            await self._announce_all(session, work.post)
        return work

    async def _announce_all(self, session: Session, posts: Sequence[Announcement]) -> None:
        """As many as there is time for, those first that were tried the longest ago: slow hosts of some artists hold up
        neither other artists' posts for long nor what must go.
        """
        self._tried = {one.track_uri: self._tried.get(one.track_uri, 0.0) for one in posts}
        until = self._clock.monotonic() + POST_SECONDS
        for one in sorted(posts, key=lambda one: self._tried[one.track_uri]):
            if self._clock.monotonic() > until:
                return
            self._tried[one.track_uri] = self._clock.monotonic()
            await self._announce(session, one)

    async def _own_up(self, session: Session) -> None:
        """The account's profile says that it is a bot, before anything is posted; what else it says stays."""
        uri = AtUri(self._did, PROFILE, "self")
        there = await self._prover.prove(uri)
        said = find_values(there.record, "labels.values[]")
        if any(isinstance(label, Mapping) and label.get("val") == BOT for label in said):
            return
        own = {"$type": "com.atproto.label.defs#selfLabels", "values": [*said, {"val": BOT}]}
        record = {"$type": PROFILE, **(there.record or {}), "labels": own}
        body = {"repo": uri.did, "collection": uri.collection, "rkey": uri.rkey, "record": record}
        await session.call("com.atproto.repo.putRecord", body | {"swapRecord": there.cid})
        self._log.info("the announcer's profile says now that it is a bot", did=self._did)

    async def _announce(self, session: Session, one: Announcement) -> None:
        """Makes the post, once all that belongs to it is there. Trouble of our own host is raised."""
        try:
            record = await self._write(session, one)
        except AppError as error:  # of this artist's host: others need not wait for it
            self._log.info("a track is announced later", uri=one.track_uri, error=error)
            return
        if record is None:
            return
        try:
            cid = await self._put(session, AtUri.parse(one.post_uri), record)
        except Refused as error:
            if error.name not in _UNACCEPTABLE:
                raise
            await self._forget(one)
            self._log.warning("a track cannot be announced", uri=one.track_uri, error=error)
            return
        async with self._store.write() as tx:
            await announcements.posted(tx, one.track_uri, cid)
        self._log.info("track announced", uri=one.track_uri, post=one.post_uri)

    async def _write(self, session: Session, one: Announcement) -> dict[str, Any] | None:
        """The post; None when the track has changed or gone, or its artist has just thought better of it."""
        async with self._store.read() as reader:
            said = await announcements.wishes_of(reader, one.did, limit=MAX_WISHES)
        stands = [wish for wish in standing_wishes(said) if await self._consents.still_says(wish)]
        proven = await self._prover.prove(AtUri.parse(one.track_uri))
        async with self._store.read() as reader:
            case = await read_case(reader, one.track_uri, one.did, announce_since(stands))
            made = await announcements.of_artist(reader, one.did)
            public = case.stored is not None and await is_public(reader, case.stored)
        stored, verdict = case.stored, case.verdict
        if proven.cid is None or stored is None or must_go(case):
            return None  # the next round takes it back
        if proven.cid != stored.track.cid or verdict is None or not public:
            return None  # another version is on its way here, or its account is away
        thread = _find_thread(one, made)
        if one.thread and thread is None:
            return None  # what it continues is not there yet
        return write_post(
            stored,
            handle=await self._handles.of(one.did),
            mention=any(wish.mention for wish in stands),
            tags=name_tags(verdict.labels, verdict.genres, self._taxonomy),
            thumb=await self._cover(session, one.did, proven.record or {}),
            thread=thread,
            now_us=self._clock.now_us(),
        )

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
            cover = await fetch_cover(self._http, self._directory, did, record)
            return await session.upload(cover.content, cover.mime) if cover is not None else None
        except AppError as error:
            self._log.info("an announcement has no picture", did=did, error=error)
            return None


def _find_thread(one: Announcement, made: Sequence[Announcement]) -> dict[str, Any] | None:
    """What a post of an album's further track answers: the album's first post, and the last one after it so far."""
    first = find_first(one.album, made) if one.thread and one.album is not None else None
    if first is None or first.state is not AnnouncementState.POSTED:
        return None
    last = [
        other
        for other in made[made.index(first) :]
        if other.album == one.album and other.state is AnnouncementState.POSTED
    ][-1]
    return {
        "root": {"uri": first.post_uri, "cid": first.post_cid},
        "parent": {"uri": last.post_uri, "cid": last.post_cid},
    }
