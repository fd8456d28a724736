"""Generations: which analyses and vectors belong together, which of them serve, and how far the next one has come.

Exactly one generation serves (once there is any). Another one may be built beside it, or have failed to be: feeds then
go on with the one that serves. A retired generation is deleted bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from core.analysis import DIMENSIONS, Analysis, Space, generation_of
from store.engine import Reader, Row, Tx

ABANDONED = "abandoned by the operator"  # the reason of a move that failed because somebody wanted it to


class GenerationState(StrEnum):
    BUILDING = "building"
    SERVING = "serving"
    RETIRED = "retired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Generation:
    """`name` is `generation_of(packs)` in the version of listening that made it; `packs` are names to hashes."""

    name: str
    packs: Mapping[str, str]
    state: GenerationState
    reason: str | None  # why it failed or was retired
    started_us: int
    finished_us: int | None  # when it got its present state, if that is not the first one

    @property
    def spaces(self) -> dict[Space, int]:
        """The vector spaces that its packs fill, and the length of the vectors of each."""
        return {space: size for space, size in DIMENSIONS.items() if space.pack in self.packs}

    def is_heard_by(self, packs: Mapping[str, str]) -> bool:
        """Whether these packs, listening now, yield analyses of this generation (among others)."""
        return generation_of(self.packs) == self.name and self.packs.items() <= packs.items()

    def part_of(self, analysis: Analysis) -> Analysis | None:
        """What an analysis says in the terms of this generation; None if it cannot."""
        return analysis.only(self.packs) if self.is_heard_by(analysis.packs) else None


@dataclass(frozen=True, slots=True)
class Living:
    """The generations that analyses are kept of. `coming` is being built or has failed to be."""

    serving: Generation
    coming: Generation | None = None

    @property
    def building(self) -> Generation | None:
        """The one that will serve next, if it is on its way."""
        return self.coming if self.coming and self.coming.state is GenerationState.BUILDING else None

    @property
    def both(self) -> tuple[Generation, ...]:
        """Serving first."""
        return (self.serving,) if self.coming is None else (self.serving, self.coming)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation has come, counted in recordings (audio, not records)."""

    heard: int
    left: int  # still to be heard, those that wait for another try included
    waiting: Mapping[str, int]  # reason -> how many of those left failed so far and are tried again
    given_up: Mapping[str, int]  # reason -> how many could not be heard

    @property
    def total(self) -> int:
        return self.heard + self.left + sum(self.given_up.values())


async def arrange(tx: Tx, packs: Mapping[str, str], *, now_us: int) -> Living:
    """What lives when these packs are the ones to listen: at the start of the process that writes.

    The first generation serves at once. Later another set of packs is built beside the one that serves; whatever else
    was being built is retired. A set that failed stays so until `retry`.
    """
    wanted = generation_of(packs)
    known = await _living(tx)
    if known is None:
        await _put(tx, wanted, packs, GenerationState.SERVING, now_us)
        return await living(tx)
    for other in known.both[1:]:
        if other.name != wanted:
            await _move(tx, other, GenerationState.RETIRED, "other packs were chosen", now_us)
    if wanted not in (one.name for one in known.both):
        await _put(tx, wanted, packs, GenerationState.BUILDING, now_us)
    return await living(tx)


async def living(r: Reader) -> Living:
    """Raises LookupError in a store that nothing was arranged in yet."""
    found = await _living(r)
    if found is None:
        raise LookupError("no generation serves")
    return found


async def get(r: Reader, name: str) -> Generation | None:
    """A generation of any state."""
    row = await r.row("generations.get", generation=name)
    return None if row is None else _generation(row)


async def switch(tx: Tx, building: Generation, *, now_us: int) -> bool:
    """From now on this one serves and the old one is retired. False, and nothing changed, unless it is being built."""
    known = await living(tx)
    if known.building is None or known.building.name != building.name:
        return False
    await _move(tx, known.serving, GenerationState.RETIRED, "replaced", now_us)
    await _move(tx, known.building, GenerationState.SERVING, None, now_us)
    tx.ring("vector")
    return True


async def fail(tx: Tx, building: Generation, reason: str, *, now_us: int) -> None:
    """Stop building; what it has stays for `retry`. The one that serves goes on."""
    await _move(tx, building, GenerationState.FAILED, reason, now_us)


async def retry(tx: Tx, *, now_us: int) -> bool:
    """Go on with a generation that failed, and try all again that was given up. False if there was nothing to do."""
    known = await living(tx)
    target = known.coming or known.serving
    progress = await measure(tx, target)
    await tx.run("generations.forget_all_unheard", generation=target.name)
    if target.state is GenerationState.FAILED:
        await _move(tx, target, GenerationState.BUILDING, None, now_us)
        return True
    return bool(progress.given_up)


async def next_unheard(
    r: Reader, target: Generation, *, after: int, now_us: int, limit: int
) -> list[tuple[int, str, str]]:
    """(track id, uri, audio key) of tracks that this generation has to hear, in order after a track id."""
    rows = await r.rows("generations.next_unheard", generation=target.name, after=after, now_us=now_us, limit=limit)
    return [(track_id, uri, audio_key) for track_id, uri, audio_key in rows]


async def next_unjudged(r: Reader, serving: Generation, *, after: int, limit: int) -> list[tuple[int, str]]:
    """(track id, uri) of tracks whose verdict is of another generation although this one heard their audio."""
    rows = await r.rows("generations.next_unjudged", generation=serving.name, after=after, limit=limit)
    return [(track_id, uri) for track_id, uri in rows]


async def measure(r: Reader, target: Generation) -> Progress:
    """Reads every track once: a tenth of a second for 100 000."""
    waiting, given_up = await count_unheard(r, target)
    return Progress(
        heard=await r.value("generations.count_heard", generation=target.name),
        left=await r.value("generations.count_left", generation=target.name),
        waiting=waiting,
        given_up=given_up,
    )


async def count_unheard(r: Reader, target: Generation) -> tuple[dict[str, int], dict[str, int]]:
    """`waiting` and `given_up` of the progress alone: reads only what could not be heard."""
    counts = await r.rows("generations.count_unheard", generation=target.name)
    waiting = {reason: count for reason, given_up, count in counts if not given_up}
    return waiting, {reason: count for reason, given_up, count in counts if given_up}


async def count_overdue(r: Reader, target: Generation, *, since_us: int) -> int:
    """How many of those left wait for another try and were first tried then or before."""
    count: int = await r.value("generations.count_overdue", generation=target.name, since_us=since_us)
    return count


async def note_unheard(
    tx: Tx, target: Generation, audio_key: str, reason: str, *, attempts: int, due_us: int | None, now_us: int
) -> None:
    """It failed again: so many attempts count by now. `due_us` is when to try again, None: never."""
    row = {"generation": target.name, "audio_key": audio_key, "reason": reason, "due_us": due_us, "now_us": now_us}
    await tx.run("generations.note_unheard", attempts=attempts, **row)


async def forget_unheard(tx: Tx, target: Generation, audio_key: str) -> None:
    """It was heard after all."""
    await tx.run("generations.forget_unheard", generation=target.name, audio_key=audio_key)


async def tried(r: Reader, target: Generation, audio_key: str) -> tuple[int, int] | None:
    """(attempts that count, when it was first tried) of audio that could not be heard so far."""
    row = await r.row("generations.tried", generation=target.name, audio_key=audio_key)
    return None if row is None else (row[0], row[1])


async def next_due_us(r: Reader, target: Generation, *, now_us: int) -> int | None:
    """When the next of the audio that waits is to be tried again."""
    due_us: int | None = await r.value("generations.next_due_us", generation=target.name, now_us=now_us)
    return due_us


async def has_leftovers(r: Reader) -> bool:
    """Whether a retired generation still holds anything."""
    return await r.value("generations.leftover") is not None


async def clear_retired(tx: Tx, *, limit: int) -> None:
    """Delete some of what retired generations hold.

    Analyses go first: a generation that comes back never finds an analysis without its vectors.
    """
    if not await tx.rows("generations.clear_analyses", limit=limit):
        await tx.rows("generations.clear_vectors", limit=limit)
        await tx.run("generations.clear_unheard")


async def _living(r: Reader) -> Living | None:
    rows = [_generation(row) for row in await r.rows("generations.living")]
    if not rows or rows[0].state is not GenerationState.SERVING:
        return None
    return Living(rows[0], rows[-1] if len(rows) > 1 else None)


async def _put(tx: Tx, name: str, packs: Mapping[str, str], state: GenerationState, now_us: int) -> None:
    await tx.run("generations.forget_all_unheard", generation=name)  # of an earlier life
    text = orjson.dumps(dict(packs)).decode()
    await tx.run("generations.put", generation=name, packs=text, state=state.value, now_us=now_us)


async def _move(tx: Tx, one: Generation, state: GenerationState, reason: str | None, now_us: int) -> None:
    parameters = {"was": one.state.value, "state": state.value, "reason": reason, "now_us": now_us}
    await tx.value("generations.set_state", generation=one.name, **parameters)


def _generation(row: Row) -> Generation:
    name, packs, state, reason, started_us, finished_us = row
    return Generation(name, orjson.loads(packs), GenerationState(state), reason, started_us, finished_us)
