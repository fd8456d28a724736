"""Which packs serve and how far the move to others has come, as one JSON value. Used by the API and the CLI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from core.clock import Clock, format_datetime
from store import Reader, generations
from store.generations import Generation, Progress

SPARING = 20.0  # a twentieth of the time at most goes into measuring

Measure = Callable[[Reader, Generation], Awaitable[Progress]]


class SparingMeasure:
    """The progress of a generation, at least as new as twenty times what it took to measure: at once in a small store,
    two seconds old with 100 000 tracks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: Generation | None = None
        self._latest: Progress | None = None
        self._good_until = 0.0  # monotonic seconds

    async def __call__(self, reader: Reader, target: Generation) -> Progress:
        began = self._clock.monotonic()
        if self._latest is None or self._of != target or began >= self._good_until:
            self._of, self._latest = target, await generations.measure(reader, target)
            ended = self._clock.monotonic()
            self._good_until = ended + SPARING * (ended - began)
        return self._latest


async def listening_report(reader: Reader, measure: Measure = generations.measure) -> dict[str, Any]:
    """`serving`: packs, generation, since when, recordings that it lacks by reason. `moving_to`: the same, and how many
    recordings are heard and left.
    """
    try:
        living = await generations.living(reader)
    except LookupError:  # no service has run here yet
        return {"serving": None, "moving_to": None}
    waiting, given_up = await generations.count_unheard(reader, living.serving)
    report: dict[str, Any] = {
        "serving": _describe(living.serving) | {"trying_again": waiting, "given_up": given_up},
        "moving_to": None,
    }
    if living.coming is not None:
        progress = await measure(reader, living.coming)
        report["moving_to"] = _describe(living.coming) | {
            "state": living.coming.state.value,
            "reason": living.coming.reason,
            "recordings": progress.total,
            "heard": progress.heard,
            "left": progress.left,
            "trying_again": dict(progress.waiting),
            "given_up": dict(progress.given_up),
        }
    return report


def _describe(generation: Generation) -> dict[str, Any]:
    return {
        "packs": {name: pack_hash[:16] for name, pack_hash in generation.packs.items()},
        "generation": generation.name[:16],
        "since": format_datetime(generation.finished_us or generation.started_us),
    }
