"""May a track be heard, and hearing it: what new tracks and those that are heard again have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from core.analysis import Analysis
from core.clock import Clock
from core.errors import AccountAway, ChildCrashed, NoAudio, Poison, Unanswered, UnknownDid
from core.ports import Analyst, Audio, VisibilityAnswer, VisibilityCheck
from core.types import Did, Track, Visibility
from earmark.deciding import heard_verdict
from store import Store, analyses, generations
from store.tracks import StoredTrack


class Voucher(Protocol):
    """earmark.vouching.Vouching."""

    async def vouch(self, stored: StoredTrack) -> None: ...

    async def check_account(self, did: Did) -> None: ...


class Hearing:
    """The ears of the service, with their manners."""

    def __init__(
        self,
        *,
        store: Store,
        audio: Audio,
        crew: Analyst,
        voucher: Voucher,
        visibility: Mapping[str, VisibilityCheck],
        clock: Clock,
    ) -> None:
        self._store = store
        self._audio = audio
        self._crew = crew
        self._voucher = voucher
        self._visibility = visibility
        self._clock = clock

    @property
    def packs(self) -> Mapping[str, str]:
        """Name -> hash of the packs that listen."""
        return self._crew.packs

    async def ask(self, stored: StoredTrack) -> VisibilityAnswer:
        """PUBLIC or HIDDEN, asked anew. No answer is an error, never a yes.

        Raises Unanswered, and what `Vouching.vouch` does.
        """
        track = stored.track
        await self._voucher.vouch(stored)
        if track.visibility_check is None:
            return VisibilityAnswer(Visibility.PUBLIC)
        if track.visibility_check not in self._visibility:
            raise Unanswered(f"no visibility adapter {track.visibility_check!r} is configured for {track.uri}")
        return await self._visibility[track.visibility_check].check(track)

    async def has_heard(self, stored: StoredTrack) -> bool:
        """Whether this track's verdict was decided by hearing its audio. Raises NoAudio.

        Then nothing is fetched: what is gone since then or cannot be reached keeps its labels, and what the serving
        generation lacks is heard again in its own time.
        """
        if stored.track.audio_key is None:
            raise NoAudio(f"{stored.track.uri} names no audio")
        async with self._store.read() as reader:
            return await heard_verdict(reader, stored) is not None

    async def hear(self, track: Track) -> Analysis | None:
        """Fetch the audio, and listen unless a living generation knows it from another record: None then.

        It is fetched all the same: anybody may write the CID of somebody's recording into a record, and only what its
        own host has is told of. Raises what `listen` does.
        """
        async with self._store.read() as reader:
            living = (await generations.living(reader)).both
            known = [await analyses.get(reader, track.audio_key or "", one.name) for one in living]
        if not any(known):
            return await self.listen(track)
        async with self._fetched(track):
            return None

    async def listen(self, track: Track) -> Analysis:
        """Fetch the audio and hear it. Raises what `Audio` and `Analyst` do; a second crash on one audio is Poison,
        whichever generations it was heard for.
        """
        try:
            async with self._fetched(track) as path:
                return await self._crew.analyse(path)
        except ChildCrashed as error:
            async with self._store.write() as tx:
                key = track.audio_key or str(track.uri)
                crashes = await analyses.note_crash(tx, key, now_us=self._clock.now_us())
            if crashes >= 2:
                raise Poison(str(error)) from error
            raise

    @asynccontextmanager
    async def _fetched(self, track: Track) -> AsyncIterator[Path]:
        """The audio; a host that gives none because of its account is asked for the account as well."""
        try:
            async with self._audio.fetch(track) as path:
                yield path
        except (AccountAway, UnknownDid):
            await self._voucher.check_account(track.did)
            raise
