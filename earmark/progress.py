"""Which packs serve and how far the move to others has come, as one JSON value. Used by the API and the CLI."""

from __future__ import annotations

from typing import Any

from core.clock import format_datetime
from store import Reader, generations
from store.generations import Generation


async def listening_report(reader: Reader) -> dict[str, Any]:
    """`serving`: packs, generation, since when. `moving_to`: the same, and recordings by what became of them."""
    try:
        living = await generations.living(reader)
    except LookupError:  # no service has run here yet
        return {"serving": None, "moving_to": None}
    report: dict[str, Any] = {"serving": _describe(living.serving), "moving_to": None}
    if living.coming is not None:
        progress = await generations.measure(reader, living.coming)
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
