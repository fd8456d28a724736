"""Music records into the store: a track to analyse, one refused with a reason, or a tombstone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.analysis import VerdictStatus
from core.errors import Permanent
from core.log import Log
from core.types import Cid, Track, TrackState
from firehose.events import Operation, RecordEvent
from firehose.following import Following
from firehose.mapping import CollectionMap
from firehose.records import bare_track, read_track
from firehose.unmapped import find_unmapped
from firehose.withdrawal import OPTED_OUT, forget_audio, retract, withdraw
from store import Tx, jobs, questions, repos, tracks, unmapped, wishes
from store.wishes import Scope

GATED = "gated"
HELD = "held"


class Listings:
    """Implements firehose.apply.RecordReader for the mapped collections."""

    def __init__(self, mapping: Mapping[str, CollectionMap], *, log: Log, following: Following | None = None) -> None:
        """`following` learns at once whose repositories are followed."""
        self._mapping = mapping
        self._log = log
        self._following = Following() if following is None else following

    @property
    def collections(self) -> frozenset[str]:
        return frozenset(self._mapping)

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply. The repository of an account with a track is followed from then on."""
        uri = str(event.uri)
        if event.operation is Operation.DELETE:
            await withdraw(tx, uri, event.rev, now_us=now_us)
            return
        if (await wishes.of(tx, event.did)).scope is Scope.ALL:
            await self._turn_away(tx, event, now_us=now_us)
            return
        before = await tracks.get(tx, uri)
        track, reason = self._read(event, now_us)
        held = reason is None and track.hold_until_us is not None
        state = TrackState.QUEUED if reason is None else TrackState.REFUSED
        if not await tracks.put(tx, track, state=state, reason=HELD if held else reason, now_us=now_us):
            return  # not newer than what is known
        await self._follow(tx, event.did, now_us=now_us)
        fields = find_unmapped(self._mapping[event.collection], event.record)
        await unmapped.note(tx, event.collection, fields, uri=uri, now_us=now_us)
        if before is not None and before.track.audio_key != track.audio_key:
            await forget_audio(tx, before)
        if reason is None:
            delay_us = max(0, (track.hold_until_us or now_us) - now_us)
            await jobs.enqueue(tx, uri, track.cid, now_us=now_us, delay_us=delay_us)
            await questions.ask(tx, uri, now_us=now_us)
            if held:
                await retract(tx, uri, VerdictStatus.REFUSED, HELD, now_us=now_us)
            return
        self._log.info("track refused", uri=uri, reason=reason)
        if track.gated:  # the artist's wish, not a failure
            await jobs.supersede(tx, uri, keep_cid="", now_us=now_us)
        else:
            await jobs.bury(tx, uri, track.cid, reason=reason, now_us=now_us)
        await retract(tx, uri, VerdictStatus.REFUSED, reason, now_us=now_us)

    async def _turn_away(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """Its artist opted out: that there is a record is all that is kept, so that it can be found again."""
        blank = Track(event.uri, Cid(""), event.rev, "", 0)
        if await tracks.put(tx, blank, state=TrackState.REFUSED, reason=OPTED_OUT, now_us=now_us):
            await self._follow(tx, event.did, now_us=now_us)

    async def _follow(self, tx: Tx, did: str, *, now_us: int) -> None:
        await repos.follow(tx, did, now_us=now_us)
        self._following.add(did)

    def _read(self, event: RecordEvent, now_us: int) -> tuple[Track, str | None]:
        """The track in a written record, and why it is not to be analysed."""
        mapping, cid = self._mapping[event.collection], event.cid or Cid("")
        try:
            track = read_track(mapping, event.uri, cid, event.rev, event.record, now_us=now_us)
        except Permanent as error:
            track = bare_track(mapping, event.uri, cid, event.rev, event.record, now_us=now_us)
            return replace(track, verified=event.verified), error.reason
        return replace(track, verified=event.verified), GATED if track.gated else None
