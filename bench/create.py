"""64 tasks hand verdicts to the real publisher and await their commit, at synchronous=FULL, without emission limit.

They come as in a backfill, the only time that there are so many: account by account, ten tracks each, the accounts in
random order. Of twenty verdicts seventeen are on new tracks with one to five labels (3 on average), one changes a label
of a track labelled before, one says the same again, one takes everything back. What is counted are rows of the label
log: signed, numbered and committed. The yardstick is signing alone, in the same process just before and after: on a
slow or busy machine the goal is 0.42 of it, which is 15 000 where 36 000 are signed.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.label_server import SRC, TRACKS_OF_ACCOUNT, subject
from bench.sign import own_rate
from bench.worker import Worker, serve
from core.analysis import Genre, Verdict, VerdictStatus
from core.clock import SystemClock
from core.keys import SigningKey
from labeler.publisher import Publisher
from store import Store, labels

TASKS = 64
_GENRES = (
    *("electronic", "hip-hop", "jazz", "rock", "pop", "classical", "folk", "funk-soul", "latin", "reggae"),
    *("ambient", "techno", "house", "drum-and-bass", "dub", "punk", "metal", "blues", "experimental", "indie-rock"),
)
_COUNTS = (1, 2, 2, 3, 3, 3, 3, 4, 4, 5)  # labels of a new track


def run(*, short: bool) -> dict[str, Any]:
    """`labels_per_cpu_second` of the process, all threads; the median of rounds, each with a store of its own."""
    rounds, verdicts = (2, 1_500) if short else (7, 10_000)
    figures = []
    with Worker("bench.create", "ours") as ours:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
                figures.append(ours.ask(folder=folder, verdicts=verdicts))
    metrics = {name: round(median(one[name] for one in figures)) for name in figures[0]}
    to_sign = median(one["labels_per_cpu_second"] / one["yardstick_per_cpu_second"] for one in figures)
    return {"metrics": metrics, "peer": {}, "ratio": {"labels_per_cpu_second_to_sign": round(to_sign, 2)}}


def _verdict(luck: random.Random, count: int) -> Verdict:
    scored = luck.sample(_GENRES, 10)
    genres = tuple(Genre(name, name.title(), luck.random()) for name in scored)
    return Verdict(VerdictStatus.OK, tuple(scored[:count]), genres=genres, rankable=True)


def _script(verdicts: int) -> list[tuple[str, Verdict]]:
    """What is handed, in order."""
    luck = random.Random(4)
    told: list[tuple[str, Verdict]] = []
    tracks = (subject(first + track) for first in _accounts(luck) for track in range(TRACKS_OF_ACCOUNT))
    for number in range(verdicts):
        kind = number % 20
        if kind < 17 or number < 10 * TASKS:
            told.append((next(tracks), _verdict(luck, luck.choice(_COUNTS))))
            continue
        uri, before = told[luck.randrange(len(told) - 4 * TASKS)]
        if kind == 17:
            after = _verdict(luck, 1)
            verdict = Verdict(VerdictStatus.OK, before.labels[:-1] + after.labels, genres=after.genres, rankable=True)
        elif kind == 18:
            verdict = before
        else:
            verdict = Verdict(VerdictStatus.WITHDRAWN, reason="withdrawn")
        told.append((uri, verdict))
    return told


def _accounts(luck: random.Random) -> Iterator[int]:
    """Numbers of first tracks."""
    while True:
        yield luck.randrange(10**9) * TRACKS_OF_ACCOUNT


async def _create(folder: Path, verdicts: int) -> dict[str, float]:
    clock = SystemClock()
    store = await Store.open(folder / "labels.db", clock=clock)
    publisher = Publisher(store, key=SigningKey(b"\x07" * 32), src=SRC, clock=clock, labels_per_second=None)
    told = iter(_script(verdicts))
    gc.collect()
    gc.freeze()  # what is to be handed is ours, not the publisher's

    async def task() -> None:
        for uri, verdict in told:
            await publisher.hand({uri: verdict})

    before = own_rate(1_280)
    wall, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(task() for _ in range(TASKS)))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    yardstick = (before + own_rate(1_280)) / 2
    async with store.read() as reader:
        made = await labels.newest_seq(reader)
        if await labels.pending(reader, 1):
            raise RuntimeError("a verdict is still pending after its task was told that it is not")
    await store.close()
    rates = {"labels_per_cpu_second": made / cpu, "labels_per_second": made / wall}
    return {**rates, "yardstick_per_cpu_second": yardstick, "labels": made}


if __name__ == "__main__":
    serve(lambda folder, verdicts: asyncio.run(_create(Path(folder), verdicts)))
