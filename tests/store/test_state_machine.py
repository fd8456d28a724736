"""Whatever happens in whatever order: numbers are gapless and, once published, verdicts are what is live."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from core.clock import format_datetime, parse_datetime
from core.job import JobState, Lease
from core.types import TrackState
from store import Store, Tx, analyses, cursors, jobs, labels, tracks

TRACKS = st.integers(0, 2)
VALUES = ("ambient", "drone", "house")


class Abort(Exception):
    """Stands for a crash inside a transaction."""


async def publish(tx: Tx, make: Any, now_us: int, limit: int) -> None:
    """T3 at its plainest: retract what is not wanted, add what is missing, settle."""
    for stored in await labels.pending(tx, limit):
        current = {label.val: label for label in stored.current}
        changes = [val for val, label in current.items() if not label.neg and val not in stored.labels]
        changes += [val for val in stored.labels if val not in current or current[val].neg]
        rows = []
        for val in changes:
            last_us = parse_datetime(current[val].cts) if val in current else 0
            cts = format_datetime(max(now_us, last_us + 1000))
            rows.append(make.label(uri=stored.uri, val=val, cts=cts, neg=val not in stored.labels))
        await labels.append(tx, rows, key_id="did:key:z")
        await labels.settle(tx, [stored])


class Pipeline(RuleBasedStateMachine):
    def __init__(self, make: Any, clock: Any, place_type: Any) -> None:
        super().__init__()
        self.make, self.clock = make, clock
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.place = place_type(self.folder, clock)
        self.store: Store = self.runner.run(self.place.open())
        self.revs = 0
        self.leases: list[Lease] = []
        self.holders: dict[str, Lease] = {}  # whose result counts, by record
        self.verdicts: dict[str, tuple[str, ...]] = {}  # what ought to be live, by record

    def teardown(self) -> None:
        try:
            self.runner.run(self.finish())
        finally:
            self.runner.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def finish(self) -> None:
        async with self.store.write() as tx:
            await publish(tx, self.make, self.clock.now_us(), 1000)
            assert await labels.pending(tx, 10) == []
            for uri, wanted in self.verdicts.items():
                rows = await labels.live(tx, self.make.src, uri)
                assert sorted(row.label.val for row in rows if not row.label.neg) == sorted(wanted)

    @rule(number=TRACKS, version=st.integers(0, 1), deleted=st.booleans(), abort=st.booleans())
    def ingest(self, number: int, version: int, deleted: bool, abort: bool) -> None:
        self.revs += 1
        uri, cid = self.make.uri(number), f"record-{version}"
        track = self.make.track(number, rev=self.revs, cid=cid)

        async def t1() -> None:
            async with self.store.write() as tx:
                if deleted:
                    assert await tracks.withdraw(tx, uri, track.rev, now_us=self.clock.now_us())
                    await labels.put_verdict(tx, uri, self.make.verdict(rankable=False), now_us=self.clock.now_us())
                else:
                    args = {"state": TrackState.QUEUED, "reason": None, "now_us": self.clock.now_us()}
                    assert await tracks.put(tx, track, **args)
                    assert not await tracks.put(tx, self.make.track(number, rev=self.revs - 1), **args)
                    before = await jobs.latest(tx, uri)
                    await jobs.enqueue(tx, uri, cid, now_us=self.clock.now_us())
                    after = await jobs.latest(tx, uri)
                    same = before is not None and before.job_id == after.job_id
                await cursors.advance(tx, "relay", self.revs, now_us=self.clock.now_us())
                if abort:
                    raise Abort
            if deleted:
                self.verdicts[uri] = ()
            if deleted or not same:
                self.holders.pop(uri, None)

        self.attempt(t1())

    @rule(worker=st.sampled_from(("w1", "w2")))
    def claim(self, worker: str) -> None:
        async def claim() -> None:
            async with self.store.write() as tx:
                lease = await jobs.claim(tx, worker, now_us=self.clock.now_us(), lease_seconds=60)
            if lease is not None:
                self.leases.append(lease)
                self.holders[lease.uri] = lease

        self.attempt(claim())

    @rule()
    def expire(self) -> None:
        self.clock.pass_seconds(61)

    @rule(which=st.integers(0, 50), wanted=st.sets(st.sampled_from(VALUES)), abort=st.booleans())
    def commit(self, which: int, wanted: set[str], abort: bool) -> None:
        """Any lease ever given may come back, in any order; only the current one counts."""
        if not self.leases:
            return
        lease, values = self.leases[which % len(self.leases)], tuple(sorted(wanted))

        async def t2() -> None:
            async with self.store.write() as tx:
                held = await jobs.finish(tx, lease, state=JobState.DONE, reason=None, now_us=self.clock.now_us())
                assert held == (self.holders.get(lease.uri) == lease)
                if not held:
                    raise Abort
                stored = await tracks.get(tx, lease.uri)
                assert stored is not None
                await analyses.put_vectors(tx, stored.track_id, "p", self.make.analysis(which).vectors)
                await tracks.set_state(tx, lease.uri, TrackState.READY, None, now_us=self.clock.now_us())
                await labels.put_verdict(tx, lease.uri, self.make.verdict(*values), now_us=self.clock.now_us())
                if abort:
                    raise Abort
            self.verdicts[lease.uri] = values
            del self.holders[lease.uri]

        self.attempt(t2())

    @rule(limit=st.integers(1, 3), abort=st.booleans())
    def publish(self, limit: int, abort: bool) -> None:
        async def t3() -> None:
            async with self.store.write() as tx:
                await publish(tx, self.make, self.clock.now_us(), limit)
                if abort:
                    raise Abort

        self.attempt(t3())

    @rule()
    def crash(self) -> None:
        """The machine comes back with what was on its disk."""
        self.place = self.place.cut_power()
        self.runner.run(self.store.close())
        self.store = self.runner.run(self.place.open())

    @invariant()
    def holds(self) -> None:
        self.runner.run(self.check())

    async def check(self) -> None:
        async with self.store.read() as r:
            log = await labels.stream(r, after_seq=0, limit=10_000)
            assert [row.seq for row in log] == list(range(1, len(log) + 1))
            for uri, wanted in self.verdicts.items():
                stored = await labels.get_verdict(r, uri)
                assert stored is not None
                assert stored.verdict.labels == wanted
                if not stored.pending:
                    rows = await labels.live(r, self.make.src, uri)
                    assert sorted(row.label.val for row in rows if not row.label.neg) == sorted(wanted)
            for lease in self.holders.values():
                job = await jobs.latest(r, lease.uri)
                assert job is not None
                assert (job.state, job.attempt) == (JobState.LEASED, lease.attempt)

    def attempt(self, work: Any) -> None:
        with suppress(Abort):
            self.runner.run(work)


def test_verdicts_are_what_is_live_whatever_happens(make: Any, clock: Any, place: Any) -> None:
    run_state_machine_as_test(
        lambda: Pipeline(make, clock, type(place)),
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
