"""Looks for posts about tracks that were written before we listened: those that records of its artist name (R3), and
those that a Constellation knows of. Each is fetched with proof from its author's host before it counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from core.clock import Clock, backoff_seconds
from core.errors import AppError, Permanent, Transient
from core.link import Link, LinkRule
from core.log import Log
from core.ports import Proven, Prover
from core.types import AtUri, Track, TrackState
from firehose.constellation import Constellation
from firehose.links import POSTS, LinkRules, find_links, make_link
from firehose.posts import PostLinks
from store import Store, links, questions, tracks

LOOK_EVERY_SECONDS = 60.0  # for questions that come again; new ones ring
AT_ONCE = 50
MAX_POSTS = 50  # new ones a question; the next question finds more


class PostFinder:
    """The role that answers questions for posts. `run` it until cancelled."""

    def __init__(
        self,
        store: Store,
        prover: Prover,
        rules: LinkRules,
        posts: PostLinks,
        *,
        constellation: Constellation | None,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._prover = prover
        self._rules = rules
        self._posts = posts
        self._constellation = constellation
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Until cancelled."""
        if self._constellation is not None:
            async with self._store.write() as tx:
                await questions.wake(tx, now_us=self._clock.now_us())
        failures = 0
        while True:
            seen = self._store.bell.count("question")
            try:
                answered = await self.answer_due()
            except Transient as error:
                failures += 1
                pause = max(
                    backoff_seconds(failures, self._clock, base=10.0, cap=900.0), error.retry_after_seconds or 0
                )
                self._log.warning("posts are not looked for now", reason=str(error)[:200], seconds=round(pause))
                await asyncio.sleep(pause)
                continue
            failures = 0
            if not answered:
                await self._store.bell.wait("question", LOOK_EVERY_SECONDS, seen=seen)

    async def answer_due(self) -> int:
        """Take the questions whose turn it is, a few at most; how many. Raises Transient: nobody answers."""
        async with self._store.read() as reader:
            due = await questions.due(reader, now_us=self._clock.now_us(), limit=AT_ONCE)
        for uri, asked in due:
            try:
                await self._answer(uri, asked + 1)
            except Transient:  # it may be this question that hurts: the others come first now
                async with self._store.write() as tx:
                    await questions.put_off(tx, uri, asked=asked, due_us=self._clock.now_us())
                raise
        return len(due)

    async def _answer(self, uri: str, asked: int) -> None:
        async with self._store.read() as reader:
            stored = await tracks.get(reader, uri)
            named_elsewhere = await questions.named_posts(reader, uri, limit=MAX_POSTS)
        if stored is None or stored.state in (TrackState.WITHDRAWN, TrackState.REFUSED):
            async with self._store.write() as tx:
                await questions.drop(tx, uri)
            return
        track = stored.track
        named = _named_posts(track, named_elsewhere)
        heard = await self._hear(track)
        looked = [await self._look_at(post) for post in await self._unknown(named, heard)]
        async with self._store.write() as tx:
            now_us = self._clock.now_us()
            for post in looked:
                if post is None:
                    continue
                if post.cid is None:  # proven: we missed its deletion, or it never was
                    await self._posts.drop(tx, post.uri)
                    continue
                found = find_links(self._rules, post.uri, post.record, now_us=now_us)
                if post.uri in named and post.record is not None:
                    found = _with_named(found, post, track, now_us=now_us)
                await self._posts.put(tx, found, now_us=now_us)
            if self._constellation is None and not named:
                await questions.shelve(tx, uri)
            else:
                await questions.settle(tx, uri, asked=asked, now_us=now_us)

    async def _hear(self, track: Track) -> list[AtUri]:
        """Posts that the index of links knows of. Raises Transient."""
        if self._constellation is None:
            return []
        try:
            return await self._constellation.posts(str(track.uri), track.page_url)
        except Permanent as error:
            self._log.warning("the index of links refuses a question", uri=str(track.uri), reason=str(error)[:200])
            return []

    async def _unknown(self, named: Sequence[AtUri], heard: Sequence[AtUri]) -> list[AtUri]:
        """The posts to look at: all that the record names, and those we heard of that we have not seen ourselves."""
        async with self._store.read() as reader:
            unseen = [post for post in heard if not await links.is_linked(reader, str(post))]
        return list(dict.fromkeys((*named, *unseen)))[:MAX_POSTS]

    async def _look_at(self, post: AtUri) -> Proven | None:
        try:
            return await self._prover.prove(post)
        except AppError as error:
            self._log.info("post not seen", uri=str(post), reason=str(error)[:200])
            return None


def _named_posts(track: Track, named_elsewhere: Sequence[str]) -> list[AtUri]:
    """Posts of the track's own author that his records name; others' are not his to give (R3)."""
    found = []
    for ref in (*track.post_refs, *named_elsewhere):
        try:
            post = AtUri.parse(ref)
        except ValueError:
            continue
        if post.collection == POSTS and post.did == track.did:
            found.append(post)
    return found


def _with_named(found: Sequence[Link], post: Proven, track: Track, *, now_us: int) -> list[Link]:
    """The links that a post's own record makes, and the one that the track's record makes."""
    same = (str(track.uri), track.page_url)
    others = [link for link in found if link.target not in same and link.rule is not LinkRule.PAGE_SAYS]
    count = 1 + len(others)
    named = make_link(
        post.uri, post.record or {}, str(track.uri), LinkRule.RECORD_TO_POST, targets_in_post=count, now_us=now_us
    )
    return [named, *(replace(link, targets_in_post=count) for link in others)]
