"""Hears again, one audio after another, what a generation has not heard; notes what could not be heard, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from core.clock import Clock
from core.errors import (
    BlobGone,
    Corrupt,
    Misconfigured,
    NoAudio,
    Permanent,
    RateLimited,
    StoreBusy,
    Transient,
    UnknownDid,
    Unreachable,
    Withdrawn,
)
from core.log import Log
from core.types import Visibility
from earmark.deciding import Judge, decide, keep, may_decide_anew, refuse, settle
from earmark.hearing import Hearing
from store import Store, Tx, generations, tracks
from store.generations import Generation, GenerationState, Progress

RETRY_CAP_SECONDS = 6 * 3600.0  # nothing is urgent: it was heard before
AWAY_SECONDS = 86_400.0  # so long a host may be away before that counts: with ten attempts then, some three days
FAILED_SHARE = 0.2  # a generation that lacks more than this much of what could be heard does not serve
GONE = frozenset(error.reason for error in (BlobGone, NoAudio, UnknownDid, Withdrawn))
AWAY = frozenset(error.reason for error in (Unreachable, RateLimited))


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an audio is tried at least, and the first pause in seconds; a later one is as long as all before it."""

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
        self._totals: dict[str, int] = {}  # generation -> its recordings when they were last counted

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
            await self._hear_any(target, uri, audio_key)
        except (Misconfigured, Corrupt, StoreBusy):
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
        async with self._picking:
            in_hand = set(self._in_hand)  # before reading: what another hand ends meanwhile is still unheard in there
            async with self._store.read() as reader:
                for after in dict.fromkeys((self._at, 0)):
                    found = await generations.next_unheard(
                        reader, target, after=after, now_us=self._clock.now_us(), limit=2 * len(in_hand) + 1
                    )
                    for track_id, uri, audio_key in found:
                        if audio_key not in in_hand:
                            self._at = track_id
                            self._in_hand.add(audio_key)
                            return uri, audio_key
        return None

    async def _hear_any(self, target: Generation, uri: str, audio_key: str) -> None:
        """From this record, or another one of the same audio: what is gone here may be there."""
        async with self._store.read() as reader:
            same = await tracks.of_audio(reader, audio_key)
            others = [str(one.track.uri) for one in same if one.account_active and await may_decide_anew(reader, one)]
        gone: Permanent | None = None
        for one in dict.fromkeys((uri, *others)):
            try:
                return await self._hear_and_keep(target, one)
            except Permanent as error:
                if error.reason not in GONE:
                    raise
                gone = error
        assert gone is not None
        raise gone

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
                if not await may_decide_anew(tx, record):
                    continue
                for decision in await decide(tx, record, heard, self._judge, [target]):
                    await keep(tx, record, decision, now_us=now_us)
                    if target.name == living.serving.name:
                        await settle(tx, record, decision, now_us=now_us)
            await generations.forget_unheard(tx, target, stored.track.audio_key)

    async def _note(self, target: Generation, uri: str, audio_key: str, error: Permanent | Transient) -> None:
        """Later again, or never; a generation that lacks too much fails at once."""
        now_us = self._clock.now_us()
        hopeless = None
        async with self._store.write() as tx:
            attempts, since_us = await generations.tried(tx, target, audio_key) or (0, now_us)
            waited = (now_us - since_us) / 1e6
            attempts += _counts(error, waited)
            pause = self._pause_after(error, attempts, waited)
            due_us = None if pause is None else now_us + int(pause * 1e6)
            await generations.note_unheard(
                tx, target, audio_key, error.reason, attempts=attempts, due_us=due_us, now_us=now_us
            )
            if pause is None:
                hopeless = await self._fail_if_hopeless(tx, target, now_us=now_us)
        again = pause is not None
        self._log.warning("not heard again", uri=uri, reason=error.reason, attempt=attempts, again=again, why=error)
        if hopeless is not None:
            self._log.error("the move to other packs has failed", packs=",".join(target.packs), reason=hopeless)

    def _pause_after(self, error: Permanent | Transient, attempts: int, waited: float) -> float | None:
        """Seconds until it is tried again; None: never."""
        if not isinstance(error, Transient):
            return None
        if attempts >= self._patience.max_attempts and _counts(error, waited):
            return None
        pause = max(self._patience.retry_seconds, waited) * (0.5 + 0.5 * self._clock.random())
        return min(max(pause, error.retry_after_seconds or 0.0), RETRY_CAP_SECONDS)

    async def _fail_if_hopeless(self, tx: Tx, target: Generation, *, now_us: int) -> str | None:
        """Why a generation that is being built has failed now, if it has. Recordings are counted only when it may."""
        _, given_up = await generations.count_unheard(tx, target)
        lost = sum(count_lost(given_up).values())
        if target.state is not GenerationState.BUILDING or lost <= FAILED_SHARE * self._totals.get(target.name, 0):
            return None
        progress = await generations.measure(tx, target)
        self._totals[target.name] = progress.total
        hopeless = why_hopeless(progress)
        if hopeless is not None:
            await generations.fail(tx, target, hopeless, now_us=now_us)
        return hopeless


def _counts(error: Permanent | Transient, waited: float) -> bool:
    """Whether this was an attempt: not while there was only to wait, for an answer or for a host to come back."""
    if not isinstance(error, Transient):
        return True
    return not error.patient and (error.reason not in AWAY or waited >= AWAY_SECONDS)


def count_lost(given_up: Mapping[str, int]) -> dict[str, int]:
    """Reason -> how many recordings could have been heard and were not. What is gone is no loss."""
    return {reason: count for reason, count in given_up.items() if reason not in GONE}


def why_hopeless(progress: Progress) -> str | None:
    """Why a generation lacks too much to serve, if it does."""
    lost = count_lost(progress.given_up)
    if sum(lost.values()) <= FAILED_SHARE * progress.total:
        return None
    reasons = ", ".join(f"{reason} {count}" for reason, count in lost.items())
    return f"{sum(lost.values())} of {progress.total} recordings could not be heard ({reasons})"


class _Bug(Transient):
    """Something of ours went wrong with this audio: tried again, but not for ever."""

    reason = "bug"
