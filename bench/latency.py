"""Seconds from the commit on the demo's PDS to the label on the stream, one track at a time, emission limit off."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from core.config import Settings
from core.log import set_up
from earmark.demo import music
from earmark.demo.publish import Recording, publish
from earmark.demo.show import Demo

GATE_P95_SECONDS = 10.0


def run(*, short: bool) -> dict[str, Any]:
    """`p50_seconds` and `p95_seconds` over 20 tracks of 3 minutes; in short mode over 3 of 12 seconds."""
    tracks, seconds = (3, 12) if short else (20, 180)
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        recordings = _record(Path(folder), tracks, seconds)
        delays = asyncio.run(_measure(recordings))
    return {
        "metrics": {
            "p50_seconds": round(statistics.median(delays), 3),
            "p95_seconds": round(float(np.percentile(delays, 95)), 3),
            "tracks": tracks,
            "track_seconds": seconds,
        },
        "peer": {},
        "ratio": {"p95_seconds": f"no peer; the gate is {GATE_P95_SECONDS:.0f} s for tracks of 3 minutes"},
    }


def _record(folder: Path, count: int, seconds: int) -> list[Recording]:
    """WAV files of the same music at different levels: different bytes, so that none is known already."""
    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    once = music.compose(piece)
    samples = np.tile(once, (-(-seconds * 44_100 // len(once)), 1))[: seconds * 44_100]
    recordings = []
    for number in range(count):
        path = folder / f"{number}.wav"
        music.encode(samples * (0.99**number), path)
        recordings.append(Recording(f"track {number}", "artist", path, "audio/wav", seconds))
    return recordings


async def _measure(recordings: list[Recording]) -> list[float]:
    delays = []
    async with Demo.opened(Settings.load(), set_up(level="error"), port=0) as demo:
        for recording in recordings:
            [published] = await publish(demo.network, [recording], hidden=False)
            async with asyncio.timeout(120):
                heard = await demo.listener.wait_for(str(published.uri))
            delays.append((heard.received_us - published.committed_us) / 1e6)
    return delays
