"""Keeps the gauges near the truth: what no single event tells."""

from __future__ import annotations

import asyncio

from core.metrics import Metrics
from earmark.progress import Measure
from feedgen.live import LiveFeeds
from firehose.source import Source
from store import Store, generations, jobs, labels, tracks

EVERY_SECONDS = 5.0


async def keep_near(
    store: Store, feeds: LiveFeeds, source: Source, metrics: Metrics, measure: Measure, *, kind: str
) -> None:
    """Until cancelled. `kind` names the source in metrics (never an address)."""
    while True:
        async with store.read() as reader:
            by_state = await tracks.count_by_state(reader)
            waiting = await jobs.counts(reader)
            seq = await labels.newest_seq(reader)
            building = (await generations.living(reader)).building
            progress = await measure(reader, building) if building is not None else None
        for state, count in by_state.items():
            metrics.tracks.labels(state).set(count)
        for state, count in waiting.items():
            metrics.jobs_waiting.labels(state).set(count)
        metrics.reanalysis.labels("heard").set(progress.heard if progress else 0)
        metrics.reanalysis.labels("left").set(progress.left if progress else 0)
        metrics.reanalysis.labels("given_up").set(sum(progress.given_up.values()) if progress else 0)
        metrics.label_seq.set(seq)
        metrics.source_connected.labels(kind).set(source.health.connected)
        for status in feeds.statuses():
            metrics.feed_entries.labels(status.rkey).set(status.entries)
        await asyncio.sleep(EVERY_SECONDS)
