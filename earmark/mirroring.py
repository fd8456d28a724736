"""Which posts carry the labels of a track: Bluesky shows labels on posts, and knows nothing of tracks (P46).

Only the announcer's posts and, if the operator wants it, an artist's own that link one track of theirs and nothing
else: a label on anybody else's post would be a statement about that person (POSTS.md section 6). The verdict on a post
follows its track's within the transaction that changes that (store.labels.put_verdict); here is decided which posts
follow which track.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from core.clock import Clock
from core.config import Settings
from core.errors import Transient
from core.types import AtUri, Did
from store import Store, labels, mirrors
from store.mirrors import Reflection

POSTS = "app.bsky.feed.post"
TRACKS = 500  # looked at together
WRITES = 100  # posts changed in one transaction
PAUSE_SECONDS = 1.0  # between two rounds at least
LOOK_EVERY_SECONDS = 60.0  # what no bell tells of, such as accounts that are back
SHARE = 20  # a round is followed by so many times its own length of rest


class Mirroring:
    """Compares what posts ought to carry with what they do, all of it in each round: nothing has to be remembered."""

    def __init__(self, store: Store, settings: Settings, *, src: Did, clock: Clock) -> None:
        self._store = store
        self._src = src
        self._clock = clock
        mode = settings.labeler.mirror_to_posts
        self._on, self._own = mode != "none", mode == "own"
        self._announcer = settings.announcer.did

    async def run(self) -> None:
        """Round after round until cancelled. What another setting had labelled is taken back in the first."""
        bell = self._store.bell
        while True:
            seen, begun = bell.count("linked"), self._clock.monotonic()
            with contextlib.suppress(Transient):  # the next round makes up for it
                await self.look()
            await asyncio.sleep(max(PAUSE_SECONDS, SHARE * (self._clock.monotonic() - begun)))
            await bell.wait("linked", LOOK_EVERY_SECONDS, seen=seen)

    async def look(self) -> int:
        """One round; how many posts changed what they carry."""
        changed, after = 0, 0
        while True:
            async with self._store.read() as reader:
                upto = await mirrors.range_end(reader, after, TRACKS)
                if upto is None:
                    return changed
                held = await mirrors.held(reader, after, upto)
                wanted = await mirrors.wanted(
                    reader, after, upto, own=self._own, announcer=self._announcer if self._on else "", src=self._src
                )
            changes = list(differ(wanted, held).items())
            for first in range(0, len(changes), WRITES):
                await self._change(changes[first : first + WRITES])
            changed += len(changes)
            after = upto

    async def _change(self, changes: Sequence[tuple[str, str | None]]) -> None:
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            for post, track in changes:
                if track is None:
                    await mirrors.drop(tx, post)
                    await labels.put_verdict(tx, post, mirrors.reflect(()), now_us=now_us)
                    continue
                of_track = await labels.get_verdict(tx, track)  # as it is by now: what was read may have changed
                await mirrors.put(tx, post, track, now_us=now_us)
                await labels.put_verdict(
                    tx, post, mirrors.reflect(of_track.verdict.labels if of_track else ()), now_us=now_us
                )


def differ(wanted: Mapping[str, Reflection], held: Mapping[str, Reflection]) -> dict[str, str | None]:
    """Post -> the track that it has to follow from now on, or None: none any more. Empty if all is as it ought to be.

    What is said on behalf of accounts that are away is neither added to nor taken back (P39, P151).
    """
    changes: dict[str, str | None] = {
        post: reflection.track_uri
        for post, reflection in wanted.items()
        if not reflection.away and held.get(post) != reflection and _is_post(post)
    }
    return changes | {post: None for post in held if post not in wanted}


def _is_post(uri: str) -> bool:
    try:
        return AtUri.parse(uri).collection == POSTS
    except ValueError:
        return False
