"""Keeps the gauges near the truth: what no single event tells."""

from __future__ import annotations

import asyncio
from typing import Any

from core.metrics import Metrics
from earmark.network import Network, Trouble
from earmark.progress import Measure
from feedgen.live import LiveFeeds
from store import Store, generations, jobs, labels, tracks

EVERY_SECONDS = 5.0


async def keep_near(store: Store, feeds: LiveFeeds, network: Network, metrics: Metrics, measure: Measure) -> None:
    """Until cancelled."""
    while True:
        network.sample()
        async with store.read() as reader:
            by_state = await tracks.count_by_state(reader)
            waiting = await jobs.counts(reader)
            seq = await labels.newest_seq(reader)
            building = (await generations.living(reader)).building
            seen = await network.report(reader)
            progress = await measure(reader, building) if building is not None else None
        for state, count in by_state.items():
            metrics.tracks.labels(state).set(count)
        for state, count in waiting.items():
            metrics.jobs_waiting.labels(state).set(count)
        metrics.reanalysis.labels("heard").set(progress.heard if progress else 0)
        metrics.reanalysis.labels("left").set(progress.left if progress else 0)
        metrics.reanalysis.labels("given_up").set(sum(progress.given_up.values()) if progress else 0)
        metrics.label_seq.set(seq)
        _set_network(metrics, seen)
        for status in feeds.statuses():
            metrics.feed_entries.labels(status.rkey).set(status.entries)
        await asyncio.sleep(EVERY_SECONDS)


def _set_network(metrics: Metrics, seen: dict[str, Any]) -> None:
    for source in seen["sources"]:
        purpose = source["purpose"]
        metrics.source_connected.labels(purpose).set(source["connected"])
        metrics.source_paused.labels(purpose).set(source["paused"])
        metrics.source_blind.labels(purpose).set(Trouble.BLIND in source["troubles"])
        metrics.source_lag_seconds.labels(purpose).set(source["lag_seconds"] or 0)
        metrics.source_quiet_seconds.labels(purpose).set(source["quiet_seconds"])
        metrics.source_frames_per_second.labels(purpose).set(source["frames_per_second"] or 0)
        metrics.source_gaps.labels(purpose).set(source["gaps"])
    metrics.hosts.labels("known").set(seen["hosts"]["known"])
    metrics.hosts.labels("resting").set(seen["hosts"]["resting"])
    for state, count in seen["repositories"].items():
        metrics.repositories.labels(state).set(count)
    for state, count in (seen["backfill"] or {}).get("repositories", {}).items():
        metrics.backfill.labels(state).set(count)
    for trouble in Trouble:
        metrics.trouble.labels(trouble).set(trouble in seen["troubles"])
