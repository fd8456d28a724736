"""Who wants to be announced: what artists say to our pinned post, and whether they still do (POSTS.md section 5).

A like of the pinned post says yes; so does a reply `announce me` of somebody who follows the account; a reply `stop`
ends it, to any post of the account if the stream of posts is read (firehose.replies). An index (a Constellation) only
says where to look: what counts is what the artist's own repository proves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.clock import Clock
from core.config import Settings
from core.errors import AppError, Misconfigured, Permanent, UnknownDid
from core.log import Log
from core.ports import Prover
from core.types import AtUri, Did
from firehose.constellation import Constellation
from firehose.links import created_us
from firehose.replies import read_words, says_stop
from store import Store, announcements
from store.announcements import AnnouncementWish, Said

LIKES, FOLLOWS, POSTS = "app.bsky.feed.like", "app.bsky.graph.follow", "app.bsky.feed.post"
MAX_NEW = 50  # records that are looked at in one round
MAX_AGAIN = 20  # known ones that are looked at again in one round
READ_SECONDS = 60.0  # then the rest waits for the next round, whoever keeps us waiting: what must go must go soon
AGAIN_US = 3_600_000_000
IDLE_US = 7 * 86_400_000_000
YES, MENTION = "announce me", "mention me"
# Only these may stand beside them: of anything else nobody can tell that it does not take back what it says.
_PLAIN = frozenset(
    ("announce", "mention", "me", "my", "new", "tracks", "music", "and", "also", "too", "yes", "hi", "hello", "please")
)


class Consents:
    """Keeps the store true to what artists say."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        prover: Prover,
        constellation: Constellation | None,
        clock: Clock,
        log: Log,
    ) -> None:
        """Raises Misconfigured when there is a pinned post, and nobody who could tell who likes it."""
        if settings.announcer.opt_in_post and constellation is None:
            raise Misconfigured("linking.constellation_url", "announcer.opt_in_post needs one to find who likes it")
        self._store = store
        self._bot = Did(settings.announcer.did)
        self._post = settings.announcer.opt_in_post
        self._artists = frozenset(settings.announcer.artists)
        self._prover = prover
        self._constellation = constellation
        self._clock = clock
        self._log = log
        self._failed: dict[str, int] = {}  # records that could not be read, and when: others come before them

    async def refresh(self) -> dict[Did, list[AnnouncementWish]]:
        """One round: what is configured, what is new, whether what is known still stands; what each artist says now.

        Trouble of others is logged, and changes nothing.
        """
        await self._configure()
        before_us = self._clock.now_us() - IDLE_US
        self._failed = {uri: at_us for uri, at_us in self._failed.items() if at_us > before_us}
        async with self._store.read() as reader:
            known = await announcements.wishes(reader)
        if self._constellation is not None and self._post:
            await self._find({wish.record_uri for said in known.values() for wish in said})
        await self._look_again(known)
        async with self._store.read() as reader:
            return await announcements.wishes(reader)

    async def still_says(self, wish: AnnouncementWish) -> bool:
        """Whether the record says yes to this day. Raises what `prove` raises, but UnknownDid."""
        if wish.record_uri == wish.did:
            return True
        return await self._take(AtUri.parse(wish.record_uri), again=True) is Said.YES

    async def _take(self, uri: AtUri, *, again: bool = False) -> Said:
        """Reads a record and keeps what it says now. `again`: it said yes before, perhaps to another pinned post; what
        an index knows of follows then does not matter any more, for that may have lost them. Raises like `still_says`,
        and what asking the index raises.
        """
        try:
            said, mention, said_us = await self._read(uri, again=again)
        except UnknownDid:  # who is gone says nothing
            said, mention, said_us = Said.NOTHING, False, 0
        await self._keep(uri, said, mention=mention, said_us=said_us)
        return said

    async def _keep(self, uri: AtUri, said: Said, *, mention: bool = False, said_us: int = 0) -> None:
        async with self._store.write() as tx:
            now_us = self._clock.now_us()
            await announcements.put_wish(tx, str(uri), uri.did, said, mention=mention, said_us=said_us, now_us=now_us)

    async def _configure(self) -> None:
        """The operator's list: who is new on it says so now, who is off it says nothing."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            await announcements.forget_idle(tx, Said.NOTHING, before_us=now_us - IDLE_US)
            await announcements.forget_idle(tx, Said.ASKED, before_us=now_us - AGAIN_US)
            listed = {
                wish.did
                for said in (await announcements.wishes(tx)).values()
                for wish in said
                if wish.record_uri == wish.did
            }
            for did in sorted(self._artists - listed):
                await announcements.put_wish(tx, did, did, Said.YES, said_us=now_us, now_us=now_us)
            for did in sorted(listed - self._artists):
                await announcements.drop_wish(tx, did)

    async def _find(self, known: set[str]) -> None:
        assert self._constellation is not None
        try:
            found = [
                *await self._constellation.records(self._post, LIKES, "subject.uri"),
                *await self._constellation.records(self._post, POSTS, "reply.parent.uri"),
            ]
        except AppError as error:
            self._log.warning("who wants to be announced could not be asked for", error=error)
            return
        new = [uri for uri in found if str(uri) not in known and uri.did != self._bot]
        until = self._clock.monotonic() + READ_SECONDS
        for uri in sorted(new, key=lambda uri: (self._failed.get(str(uri), 0), uri.rkey))[:MAX_NEW]:
            if self._clock.monotonic() > until:
                break
            try:
                await self._take(uri)
            except Permanent:  # what it is about cannot be proven
                await self._keep(uri, Said.NOTHING)
            except AppError as error:  # a host is away: a later round asks again
                self._failed[str(uri)] = self._clock.now_us()
                self._log.info("a wish to be announced could not be read", uri=str(uri), error=error)

    async def _read(self, uri: AtUri, *, again: bool) -> tuple[Said, bool, int]:
        """What the record says in its own repository: that, whether it asks for mentions, and since when it says so."""
        record = (await self._prover.prove(uri)).record or {}
        said_us = created_us(record.get("createdAt"), uri.rkey, self._clock.now_us())
        reply = record.get("reply")
        subject = (
            record.get("subject") if uri.collection == LIKES else isinstance(reply, Mapping) and reply.get("parent")
        )
        if not self._is_ours(subject, again=again):
            return Said.NOTHING, False, said_us
        if uri.collection == LIKES:
            return Said.YES, False, said_us
        words = read_words(record.get("text"))
        text = " ".join(words)
        if says_stop(record.get("text")):
            return Said.STOP, False, said_us
        if YES not in text or not _PLAIN.issuperset(words):
            return Said.NOTHING, False, said_us
        return (Said.YES if again or await self._follows(uri.did) else Said.ASKED), MENTION in text, said_us

    def _is_ours(self, subject: Any, *, again: bool) -> bool:
        """Whether that names the pinned post, or `again` any post of the account."""
        uri = subject.get("uri") if isinstance(subject, Mapping) else None
        return uri == self._post or (again and isinstance(uri, str) and uri.startswith(f"at://{self._bot}/{POSTS}/"))

    async def _follows(self, did: Did) -> bool:
        assert self._constellation is not None
        for uri in (await self._constellation.records(self._bot, FOLLOWS, "subject", by=did))[:3]:
            record = (await self._prover.prove(uri)).record if uri.did == did else None
            if record is not None and record.get("subject") == self._bot:
                return True
        return False

    async def _look_again(self, known: Mapping[Did, list[AnnouncementWish]]) -> None:
        """The longest ago first; an unlike ends it within an hour or so."""
        before_us = self._clock.now_us() - AGAIN_US
        due = [
            wish for said in known.values() for wish in said if wish.said is Said.YES and wish.checked_us <= before_us
        ]
        until = self._clock.monotonic() + READ_SECONDS
        for wish in sorted(due, key=self._tried_us)[:MAX_AGAIN]:
            if self._clock.monotonic() > until:
                break
            try:
                await self.still_says(wish)
            except AppError as error:
                self._failed[wish.record_uri] = self._clock.now_us()
                self._log.info("a wish to be announced could not be read again", uri=wish.record_uri, error=error)

    def _tried_us(self, wish: AnnouncementWish) -> int:
        return max(wish.checked_us, self._failed.get(wish.record_uri, 0))
