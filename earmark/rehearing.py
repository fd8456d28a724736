"""Hears again, one audio after another, what a generation has not heard; notes what could not be heard, and why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from core.clock import Clock, backoff_seconds
from core.errors import BlobGone, Corrupt, Misconfigured, NoAudio, Permanent, Transient, UnknownDid, Withdrawn
from core.log import Log
from core.types import Visibility
from earmark.deciding import Judge, decide, keep, refuse, settle
from earmark.hearing import Hearing
from store import Store, Tx, generations, labels, tracks
from store.generations import Generation, GenerationState, Progress
from store.tracks import StoredTrack

RETRY_CAP_SECONDS = 3600.0
FAILED_SHARE = 0.2  # a generation that lacks more than this much of what could be heard does not serve
GONE = frozenset(error.reason for error in (BlobGone, NoAudio, UnknownDid, Withdrawn))


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an audio is tried, and the first pause in seconds, which doubles."""

    max_attempts: int
    retry_seconds: float


class Rehearing:
    """Keeps no state but what it has in hand; several tasks may ask for the next one at once."""

    def __init__(
        self, *, store: Store, hearing: Hearing, judge: Judge, clock: Clock, log: Log, patience: Patience
    ) -> None:
        self._store = store
        self._hearing = hearing
        self._judge = judge
        self._clock = clock
        self._log = log
        self._patience = patience
        self._at = 0  # the last track that was picked
        self._in_hand: set[str] = set()  # audio keys
        self._picking = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether something is being heard now."""
        return bool(self._in_hand)

    def can_hear(self, target: Generation) -> bool:
        """Whether the packs that listen yield analyses of this generation."""
        return target.is_heard_by(self._hearing.packs)

    async def hear_next(self, target: Generation) -> float | None:
        """Hear one audio for a generation, or note why not: the seconds that took. None: nothing is to be heard now."""
        picked = await self._pick(target)
        if picked is None:
            return None
        uri, audio_key = picked
        began = self._clock.monotonic()
        try:
            await self._hear_and_keep(target, uri)
        except (Misconfigured, Corrupt):
            raise
        except (Permanent, Transient) as error:
            await self._note(target, uri, audio_key, error)
        except Exception as error:
            self._log.exception("bug while hearing again", uri=uri)
            await self._note(target, uri, audio_key, _Bug(str(error)))
        finally:
            self._in_hand.discard(audio_key)
        return self._clock.monotonic() - began

    async def _pick(self, target: Generation) -> tuple[str, str] | None:
        """(uri, audio key) of the next track, in hand from now on."""
        async with self._picking, self._store.read() as reader:
            for after in dict.fromkeys((self._at, 0)):
                found = await generations.next_unheard(
                    reader, target, after=after, now_us=self._clock.now_us(), limit=2 * len(self._in_hand) + 1
                )
                for track_id, uri, audio_key in found:
                    if audio_key not in self._in_hand:
                        self._at = track_id
                        self._in_hand.add(audio_key)
                        return uri, audio_key
        return None

    async def _hear_and_keep(self, target: Generation, uri: str) -> None:
        async with self._store.read() as reader:
            stored = await tracks.get(reader, uri)
        if stored is None or stored.track.audio_key is None:
            return
        answer = await self._hearing.ask(stored)
        hidden = answer.visibility is Visibility.HIDDEN
        heard = None if hidden else await self._hearing.listen(stored.track)
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            same = await tracks.get(tx, uri)
            if same is not None and same.track.cid == stored.track.cid:
                await tracks.set_visibility(tx, uri, answer.visibility, page_url=answer.page_url, now_us=now_us)
                if hidden:
                    await refuse(tx, uri, "not_public", now_us=now_us)
            living = await generations.living(tx)
            if heard is None or target.name not in (one.name for one in living.both):
                return
            for record in await tracks.of_audio(tx, stored.track.audio_key):
                if not await _was_heard(tx, record):
                    continue
                for decision in await decide(tx, record, heard, self._judge, [target]):
                    await keep(tx, record, decision, now_us=now_us)
                    if target.name == living.serving.name:
                        await settle(tx, record, decision, now_us=now_us)
            await generations.forget_unheard(tx, target, stored.track.audio_key)

    async def _note(self, target: Generation, uri: str, audio_key: str, error: Permanent | Transient) -> None:
        """Later again, or never; a generation that lacks too much fails at once."""
        now_us = self._clock.now_us()
        patience = self._patience
        async with self._store.write() as tx:
            attempt = await generations.attempts(tx, target, audio_key) + 1
            again = isinstance(error, Transient) and (error.patient or attempt < patience.max_attempts)
            seconds = backoff_seconds(attempt, self._clock, base=patience.retry_seconds, cap=RETRY_CAP_SECONDS)
            if isinstance(error, Transient) and error.retry_after_seconds is not None:
                seconds = max(seconds, min(error.retry_after_seconds, RETRY_CAP_SECONDS))
            due_us = now_us + int(seconds * 1e6) if again else None
            await generations.note_unheard(tx, target, audio_key, error.reason, due_us=due_us, now_us=now_us)
            if not again:
                await fail_if_hopeless(tx, target, await generations.measure(tx, target), now_us=now_us)
        self._log.warning("not heard again", uri=uri, reason=error.reason, attempt=attempt, again=again, why=error)


async def fail_if_hopeless(tx: Tx, target: Generation, progress: Progress, *, now_us: int) -> bool:
    """Whether a generation that is being built lacks too much to serve: it has failed then. What is gone is no lack."""
    lost = {reason: count for reason, count in progress.given_up.items() if reason not in GONE}
    if target.state is not GenerationState.BUILDING or sum(lost.values()) <= FAILED_SHARE * progress.total:
        return False
    reasons = ", ".join(f"{reason} {count}" for reason, count in lost.items())
    why = f"{sum(lost.values())} of {progress.total} recordings could not be heard ({reasons})"
    await generations.fail(tx, target, why, now_us=now_us)
    return True


async def _was_heard(tx: Tx, record: StoredTrack) -> bool:
    """Whether what is said of a record now was decided by hearing this audio, and it may still be heard."""
    verdict = await labels.get_verdict(tx, str(record.track.uri))
    same = verdict is not None and verdict.audio_key == record.track.audio_key and verdict.generation is not None
    return same and not record.track.gated


class _Bug(Transient):
    """Something of ours went wrong with this audio: tried again, but not for ever."""

    reason = "bug"
