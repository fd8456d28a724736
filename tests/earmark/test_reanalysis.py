"""Moving a corpus to other packs, step by step: real store, index, worker; only ears and network are ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import DIMENSIONS, Analysis, Ruling, Space, Tag, Vector, Verdict, VerdictStatus, generation_of
from core.errors import (
    AccountAway,
    BlobGone,
    ChildCrashed,
    Deadline,
    Misconfigured,
    StoreBusy,
    Unanswered,
    Undecodable,
    Unreachable,
)
from core.job import JobState
from core.log import Log
from core.metrics import Metrics
from core.ports import VisibilityAnswer
from core.types import Account, AtUri, BlobRef, Cid, Did, Tid, Track, TrackState, Visibility, make_tid
from earmark.deciding import refuse
from earmark.hearing import Hearing
from earmark.progress import SparingMeasure, listening_report
from earmark.reanalysis import PutInPlace, Reanalysis
from earmark.recheck import enqueue_stale
from earmark.rehearing import Patience, Rehearing
from earmark.worker import Worker
from store import Store, accounts, analyses, generations, jobs, labels, tracks
from store.engine import Engine
from store.generations import Generation, GenerationState
from store.index import VectorIndex
from store.migrate import migrate, packaged_migrations
from store.sqlite import SqliteEngine
from store.tracks import StoredTrack
from tests.store.test_crash import Crash, FailingEngine

DID = Did("did:plc:" + "a" * 24)
OLD = {"musicnn": "m"}
NEW = {"effnet": "e", "clap": "c"}
START_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


class StillClock:
    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6

    def random(self) -> float:
        return 1.0


class Ears:
    """Audio and Analyst at once: the file holds the audio's key; what is heard depends on it and on the packs."""

    def __init__(self, folder: Path, packs: dict[str, str]) -> None:
        self.folder, self.packs = folder, packs
        self.heard: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.gone: set[str] = set()  # records whose repository has no such blob any more
        self.meanwhile: Callable[[str], Any] | None = None  # something that happens while it listens

    @asynccontextmanager
    async def fetch(self, track: Track) -> AsyncIterator[Path]:
        assert track.audio_key is not None
        if str(track.uri) in self.gone:
            raise BlobGone("gone")
        path = self.folder / track.audio_key
        path.write_text(track.audio_key)
        yield path

    async def analyse(self, path: Path) -> Analysis:
        key = path.read_text()
        self.heard.append(key)
        if key in self.trouble:
            raise self.trouble[key]
        if self.meanwhile is not None:
            await self.meanwhile(key)
        return analysis(key, self.packs)

    async def embed(self, texts: Any, *, keep: bool = False) -> Vector:
        raise NotImplementedError


def analysis(key: str, packs: dict[str, str]) -> Analysis:
    number = int(key.partition("-")[2])
    tags = [Tag("ambient", "msd", 0.5)] if "musicnn" in packs else []
    tags += [Tag("Electronic---Techno", "discogs", 0.5)] if "effnet" in packs else []
    vectors = {
        space: np.random.default_rng(number).standard_normal(size).astype(np.float32)
        for space, size in DIMENSIONS.items()
        if space.pack in packs
    }
    return Analysis(packs=packs, duration_seconds=100.0, rms_dbfs=-10.0, tags=tuple(tags), vectors=vectors)


def judge(heard: Analysis, _: StoredTrack, previous: tuple[str, ...], ruling: Ruling) -> Verdict:
    found = tuple(tag.name.rpartition("---")[2].lower() for tag in heard.tags)
    return Verdict(VerdictStatus.OK, found, rankable=True, reason=f"kept {','.join(previous)}" if previous else None)


class App:
    """What plyr.fm says."""

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.silent = False
        self.silent_of: set[str] = set()

    async def check(self, track: Track) -> VisibilityAnswer:
        if self.silent or str(track.uri) in self.silent_of:
            raise Unanswered("no answer")
        return VisibilityAnswer(Visibility.HIDDEN if str(track.uri) in self.hidden else Visibility.PUBLIC)


class Trusting:
    """Vouches for every track of an account that is there: what it takes otherwise is tested elsewhere."""

    async def vouch(self, stored: StoredTrack) -> None:
        if not stored.account_active:
            await self.check_account(stored.track.did)

    async def check_account(self, did: Did) -> None:
        raise AccountAway(f"{did} is away", retry_after_seconds=3600.0)


class Place:
    """A store with a corpus that was heard with OLD, and everything that moves it to NEW."""

    def __init__(self, folder: Path, store: Store, packs: dict[str, str]) -> None:
        self.folder, self.store = folder, store
        self.clock, self.app, self.log = StillClock(), App(), Log(logging.getLogger("earmark.test"))
        self.ears = Ears(folder, packs)
        self.hearing = Hearing(
            store=store,
            audio=self.ears,
            crew=self.ears,
            voucher=Trusting(),
            visibility={"plyr": self.app},
            clock=self.clock,
        )
        self.index: VectorIndex | None = None
        self.prepared: Callable[[Generation], Any] | None = None
        self.reanalysis = self.new_reanalysis()

    def new_reanalysis(self, **changes: Any) -> Reanalysis:
        rehearing = Rehearing(
            store=self.store,
            hearing=self.hearing,
            judge=judge,
            clock=self.clock,
            log=self.log,
            patience=Patience(max_attempts=3, retry_seconds=10.0),
        )
        options = {"share": 1.0} | changes
        return Reanalysis(
            store=self.store,
            rehearing=rehearing,
            judge=judge,
            prepare=self.prepare,
            clock=self.clock,
            log=self.log,
            **options,
        )

    def worker(self) -> Worker:
        return Worker(
            name="w",
            store=self.store,
            hearing=self.hearing,
            judge=judge,
            clock=self.clock,
            metrics=Metrics(),
            log=self.log,
            lease_seconds=60.0,
            max_attempts=3,
            retry_seconds=10.0,
        )

    async def open_index(self, generation: Generation) -> VectorIndex:
        return await VectorIndex.open(
            self.store, self.folder / "index", spaces=generation.spaces, generation=generation.name
        )

    async def prepare(self, generation: Generation) -> PutInPlace:
        if self.prepared is not None:
            self.prepared(generation)
        index = await self.open_index(generation)
        await index.checkpoint()

        async def put_in_place() -> None:
            async with self.store.read() as r:
                assert (await generations.living(r)).serving.name == generation.name  # committed before it shows
            self.index = index

        return put_in_place

    async def arrange(self, packs: dict[str, str]) -> None:
        async with self.store.write() as tx:
            await generations.arrange(tx, packs, now_us=self.clock.us)

    async def publish(self, number: int, rev: int = 0, audio: int | None = None, **changes: Any) -> str:
        """A record that waits in the queue."""
        one = record(number, rev, audio, **changes)
        async with self.store.write() as tx:
            assert await tracks.put(tx, one, state=TrackState.QUEUED, reason=None, now_us=self.clock.us)
            await jobs.enqueue(tx, str(one.uri), one.cid, now_us=self.clock.us)
        return str(one.uri)

    async def work(self) -> None:
        """The worker takes all that is due."""
        worker = self.worker()
        while (lease := await worker._claim()) is not None:
            await worker._work(lease)

    async def steps(self, limit: int = 100) -> int:
        """Until it would wait; how many."""
        for count in range(limit):
            if await self.reanalysis.step() > 0:
                return count
        raise AssertionError("it never rests")

    async def living(self) -> generations.Living:
        async with self.store.read() as r:
            return await generations.living(r)

    async def verdict(self, uri: str) -> labels.StoredVerdict:
        async with self.store.read() as r:
            found = await labels.get_verdict(r, uri)
        assert found is not None
        return found

    async def contents(self, packs: dict[str, str]) -> tuple[set[str], set[int]]:
        """Audio heard in a generation, tracks with vectors in it."""
        name = generation_of(packs)
        async with self.store.read() as r:
            rows = await analyses.vector_log(r, name, after_seq=0, limit=1000)
            keys = [f"audio-{number}" for number in range(20)]
            heard = {key for key in keys if await analyses.get(r, key, name) is not None}
        return heard, {row.track_id for row in rows if row.vector is not None}


def record(number: int, rev: int = 0, audio: int | None = None, **changes: Any) -> Track:
    rkey = make_tid(1_700_000_000_000_000 + number)
    fields: dict[str, Any] = {
        "uri": AtUri.parse(f"at://{DID}/fm.plyr.track/{rkey}"),
        "cid": Cid(f"record-{number}-{rev}"),
        "rev": Tid(make_tid(START_US + rev)),
        "title": "T",
        "created_us": 1,
        "blob": BlobRef(Cid(f"audio-{number if audio is None else audio}"), "audio/wav", 10),
        "visibility_check": "plyr",
    }
    return Track(**(fields | changes))


async def heard_with_old(place: Place, count: int) -> list[str]:
    """So many tracks, heard with OLD, which serves."""
    packs, place.ears.packs = place.ears.packs, OLD
    await place.arrange(OLD)
    uris = [await place.publish(number) for number in range(1, count + 1)]
    await place.work()
    place.ears.packs = packs
    place.ears.heard.clear()
    return uris


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("earmark.test").setLevel("CRITICAL")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = StillClock()
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    yield Place(tmp_path, store, OLD | NEW)
    await store.close()


async def test_a_corpus_moves_and_the_old_generation_serves_until_then(place: Place) -> None:
    uris = await heard_with_old(place, 3)
    old = await place.open_index((await place.living()).serving)
    await place.arrange(NEW)
    for _ in range(3):
        assert await place.reanalysis.step() == 0.0
        assert (await place.living()).serving.packs == OLD
        await old.follow()
        assert old.size(Space.MUSICNN_TAGS) == 3
        assert [(await place.verdict(uri)).verdict.labels for uri in uris] == [("ambient",)] * 3
    assert place.ears.heard == ["audio-1", "audio-2", "audio-3"]
    assert place.index is None
    assert await place.reanalysis.step() == 0.0  # the switch
    living = await place.living()
    assert (living.serving.packs, living.coming) == (NEW, None)
    assert place.index is not None
    assert place.index.size(Space.CLAP) == place.index.size(Space.EFFNET_SOUND) == 3
    await place.steps()
    for uri in uris:
        stored = await place.verdict(uri)
        assert stored.verdict.labels == ("techno",)
        assert stored.verdict.reason == "kept ambient"  # hysteresis goes on over a switch: it is the same audio
        assert stored.generation == generation_of(NEW)
    assert await place.contents(OLD) == (set(), set())
    assert await place.contents(NEW) == ({"audio-1", "audio-2", "audio-3"}, {1, 2, 3})
    place.ears.heard.clear()
    assert await place.steps() == 0
    assert place.ears.heard == []


async def test_new_tracks_come_first_and_enter_both_generations(place: Place) -> None:
    await heard_with_old(place, 1)
    await place.arrange(NEW)
    uri = await place.publish(2)
    assert await place.reanalysis.step() > 0
    assert place.ears.heard == []
    await place.work()
    assert (await place.verdict(uri)).verdict.labels == ("ambient",)  # what serves has the word
    assert await place.contents(OLD) == ({"audio-1", "audio-2"}, {1, 2})
    assert await place.contents(NEW) == ({"audio-2"}, {2})
    await place.steps()
    assert place.ears.heard == ["audio-2", "audio-1"]
    assert (await place.verdict(uri)).verdict.labels == ("techno",)


async def test_without_the_old_packs_new_tracks_are_labelled_now_and_shown_with_the_switch(place: Place) -> None:
    old_uri = (await heard_with_old(place, 1))[0]
    place.ears.packs = NEW
    await place.arrange(NEW)
    uri = await place.publish(2)
    await place.publish(1, rev=1, title="other words")  # known to what serves: not heard anew
    await place.work()
    assert place.ears.heard == ["audio-2"]
    assert (await place.verdict(uri)).verdict.labels == ("techno",)
    assert (await place.verdict(old_uri)).verdict.labels == ("ambient",)
    assert await place.contents(OLD) == ({"audio-1"}, {1})
    assert await place.contents(NEW) == ({"audio-2"}, {2})
    await place.steps()
    assert place.ears.heard == ["audio-2", "audio-1"]
    assert await place.contents(NEW) == ({"audio-1", "audio-2"}, {1, 2})
    assert place.index is not None
    assert place.index.size(Space.CLAP) == 2


async def test_what_its_artist_hides_gates_or_deletes_meanwhile_is_not_kept(place: Place) -> None:
    hidden, deleted, gated, replaced, away = await heard_with_old(place, 5)
    await place.arrange(NEW)
    place.app.hidden.add(hidden)

    async def meanwhile(key: str) -> None:
        now_us = place.clock.us
        async with place.store.write() as tx:
            if key == "audio-2":
                await tracks.withdraw(tx, deleted, make_tid(START_US + 9), now_us=now_us)
                await labels.put_verdict(tx, deleted, Verdict(VerdictStatus.WITHDRAWN), now_us=now_us)
                await analyses.drop_vectors(tx, 2)
            if key == "audio-3":
                one = record(3, 1, gated=True)
                await tracks.put(tx, one, state=TrackState.REFUSED, reason="gated", now_us=now_us)
                await labels.put_verdict(tx, gated, Verdict(VerdictStatus.REFUSED), now_us=now_us)
            if key == "audio-4":
                await tracks.put(tx, record(4, 1, audio=9), state=TrackState.QUEUED, reason=None, now_us=now_us)

    place.ears.meanwhile = meanwhile
    async with place.store.write() as tx:
        await accounts.put(tx, Account(DID, active=True), now_us=1)
    await place.steps()
    assert place.ears.heard == ["audio-2", "audio-3", "audio-4", "audio-5"]  # the hidden one is not even fetched
    verdict = (await place.verdict(hidden)).verdict
    assert (verdict.status, verdict.reason) == (VerdictStatus.REFUSED, "not_public")
    assert await place.contents(NEW) == ({"audio-5"}, {5})
    assert (await place.living()).serving.packs == NEW
    assert (await place.verdict(away)).verdict.labels == ("techno",)
    assert (await place.verdict(replaced)).verdict.labels == ("ambient",)  # the worker's, who has the new audio


async def test_an_account_that_is_away_is_heard_when_it_is_back(place: Place) -> None:
    (uri,) = await heard_with_old(place, 1)
    async with place.store.write() as tx:
        await accounts.put(tx, Account(DID, active=False, status="deactivated"), now_us=1)
    await place.arrange(NEW)
    await place.steps()
    assert place.ears.heard == []
    assert (await place.living()).serving.packs == NEW
    assert (await place.verdict(uri)).verdict.labels == ("ambient",)
    async with place.store.write() as tx:
        await accounts.put(tx, Account(DID, active=True), now_us=2)
    await place.steps()
    assert (await place.verdict(uri)).verdict.labels == ("techno",)
    assert await place.contents(NEW) == ({"audio-1"}, {1})


async def test_what_changes_between_the_list_and_the_judging_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, gated, replaced, edited, plain = await heard_with_old(place, 5)
    await place.arrange(NEW)
    while (await place.living()).serving.packs == OLD:
        await place.reanalysis.step()
    listed = generations.next_unjudged

    async def list_then_change(r: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        found = await listed(r, *arguments, **options)
        assert len(found) == 5
        now_us = place.clock.us
        async with place.store.write() as tx:
            await tracks.set_visibility(tx, hidden, Visibility.HIDDEN, page_url=None, now_us=now_us)
            await refuse(tx, hidden, "not_public", now_us=now_us)
            await tracks.put(tx, record(2, 1, gated=True), state=TrackState.REFUSED, reason="gated", now_us=now_us)
            await refuse(tx, gated, "gated", now_us=now_us)
        await place.publish(3, rev=1, audio=1)  # audio that the new generation has heard
        await place.publish(4, rev=1, title="other words")
        return found

    monkeypatch.setattr(generations, "next_unjudged", list_then_change)
    assert await place.reanalysis.step() == 0.0
    for uri, reason in ((hidden, "not_public"), (gated, "gated")):
        verdict = (await place.verdict(uri)).verdict
        assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.REFUSED, (), reason)
    for uri in (replaced, edited):
        assert (await place.verdict(uri)).verdict.labels == ("ambient",)
        async with place.store.read() as r:
            stored = await tracks.get(r, uri)
        assert stored is not None
        assert stored.state is TrackState.QUEUED
    assert (await place.verdict(plain)).verdict.labels == ("techno",)
    place.app.hidden.add(hidden)
    await place.work()
    await place.steps()
    assert (await place.contents(NEW))[1] == {3, 4, 5}


@pytest.mark.parametrize("reason", ["gone", "unreachable"])
async def test_what_was_heard_and_cannot_be_had_any_more_keeps_its_labels(place: Place, reason: str) -> None:
    """Over the switch, the deletion of the old analysis, the weekly question and an edit; not if it is hidden."""
    uri = (await heard_with_old(place, 6))[0]
    await place.arrange(NEW)
    place.ears.trouble["audio-1"] = BlobGone("gone") if reason == "gone" else Unreachable("no")
    for _ in range(30):
        await place.steps()
        place.clock.us += HOUR_US
    assert (await place.living()).serving.packs == NEW
    assert await place.contents(OLD) == (set(), set())
    place.clock.us += 8 * 24 * HOUR_US
    assert await enqueue_stale(place.store, now_us=place.clock.us) == 6

    async def work_and_look() -> tuple[JobState, TrackState, tuple[str, ...]]:
        for _ in range(4):  # as many attempts as a job has, and more
            await place.work()
            place.clock.us += HOUR_US
        async with place.store.read() as r:
            job, stored = await jobs.latest(r, uri), await tracks.get(r, uri)
        assert job is not None
        assert stored is not None
        return job.state, stored.state, (await place.verdict(uri)).verdict.labels

    kept = (JobState.DONE, TrackState.READY, ("ambient",))
    assert await work_and_look() == kept
    await place.publish(1, rev=1, title="other words")
    assert await work_and_look() == kept
    place.app.hidden.add(uri)
    await place.publish(1, rev=2, title="other words again")
    assert await work_and_look() == (JobState.DONE, TrackState.REFUSED, ())


async def test_what_is_gone_in_one_repository_is_heard_from_another(place: Place) -> None:
    uris = await heard_with_old(place, 1)
    place.ears.packs, packs = OLD, place.ears.packs
    uris.append(await place.publish(2, audio=1))
    await place.work()
    place.ears.packs = packs
    place.ears.gone.add(uris[0])
    await place.arrange(NEW)
    await place.steps()
    assert place.ears.heard == ["audio-1"]
    assert await place.contents(NEW) == ({"audio-1"}, {1, 2})
    async with place.store.read() as r:
        assert await generations.count_unheard(r, (await place.living()).serving) == ({}, {})


async def test_a_track_that_cannot_be_judged_holds_no_other_up_and_is_tried_again(place: Place) -> None:
    uris = await heard_with_old(place, 3)
    await place.arrange(NEW)
    broken = True

    def fail_at_first(heard: Analysis, stored: StoredTrack, previous: tuple[str, ...], ruling: Ruling) -> Verdict:
        if broken and stored.track_id == 2 and "effnet" in heard.packs:
            raise ZeroDivisionError
        return judge(heard, stored, previous, ruling)

    place.reanalysis = place.new_reanalysis()
    place.reanalysis._judge = fail_at_first
    await place.steps()
    assert [(await place.verdict(uri)).verdict.labels[0] for uri in uris] == ["techno", "ambient", "techno"]
    assert await place.contents(OLD) == (set(), set())
    broken = False
    place.clock.us += HOUR_US
    await place.steps()
    assert (await place.verdict(uris[1])).verdict.labels == ("techno",)


async def test_a_commit_that_fails_leaves_all_to_be_judged(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = await heard_with_old(place, 3)
    await place.arrange(NEW)
    while (await place.living()).serving.packs == OLD:
        await place.reanalysis.step()
    settled = labels.put_verdict

    async def be_busy(tx: Any, uri: str, *arguments: Any, **options: Any) -> None:
        await settled(tx, uri, *arguments, **options)
        if uri == uris[2]:
            monkeypatch.undo()
            raise StoreBusy("not now")

    monkeypatch.setattr(labels, "put_verdict", be_busy)
    with pytest.raises(StoreBusy):
        await place.reanalysis.step()
    await place.steps()
    assert [(await place.verdict(uri)).verdict.labels for uri in uris] == [("techno",)] * 3


async def test_what_was_given_up_is_told_of_after_the_switch_and_retry_hears_it(place: Place) -> None:
    uris = await heard_with_old(place, 6)
    await place.arrange(NEW)
    place.ears.trouble["audio-1"] = Undecodable("no")
    await place.new_reanalysis(yielding=False).finish(2)
    async with place.store.read() as r:
        report = await listening_report(r)
    assert (report["moving_to"], report["serving"]["given_up"]) == (None, {"undecodable": 1})
    place.ears.trouble.clear()
    async with place.store.write() as tx:
        assert await generations.retry(tx, now_us=place.clock.us)
    await place.new_reanalysis(yielding=False).finish(2)
    async with place.store.read() as r:
        assert (await listening_report(r))["serving"]["given_up"] == {}
    assert (await place.verdict(uris[0])).verdict.labels == ("techno",)
    assert (await place.contents(NEW))[1] == {1, 2, 3, 4, 5, 6}


async def test_a_move_that_fails_by_its_losses_says_so_and_counts_the_corpus_once(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heard_with_old(place, 11)
    await place.arrange(NEW)
    place.ears.trouble = {f"audio-{number}": Undecodable("no") for number in range(1, 12)}
    measured = generations.measure
    counted = 0

    async def count(*arguments: Any) -> Any:
        nonlocal counted
        counted += 1
        return await measured(*arguments)

    monkeypatch.setattr(generations, "measure", count)
    with caplog.at_level("ERROR", "earmark.test"):
        await place.steps()
    assert (await place.living()).building is None
    (said,) = [vars(entry)["fields"] for entry in caplog.records]
    assert said["reason"] == "3 of 11 recordings could not be heard (undecodable 3)"
    assert counted <= 3  # at the first loss, at the one too many, and when nothing is left to be heard


async def test_in_the_foreground_what_stops_it_is_raised_as_it_is_and_a_busy_store_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heard_with_old(place, 3)
    await place.arrange(NEW)
    place.ears.trouble["audio-2"] = Misconfigured("listening.packs", "pull it again")
    with pytest.raises(Misconfigured):
        await place.new_reanalysis(yielding=False).finish(2)
    place.ears.trouble.clear()
    measured = generations.measure

    async def be_busy_once(*_: Any) -> Any:
        monkeypatch.setattr(generations, "measure", measured)
        raise StoreBusy("not now")

    monkeypatch.setattr("earmark.reanalysis.LOOK_SECONDS", 0.0)
    monkeypatch.setattr(generations, "measure", be_busy_once)
    await asyncio.wait_for(place.new_reanalysis(yielding=False).finish(2), 30)
    assert generations.measure is measured
    assert (await place.living()).serving.packs == NEW


async def test_progress_is_measured_sparingly(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await heard_with_old(place, 2)
    await place.arrange(NEW)
    building = (await place.living()).building
    assert building is not None
    measured = generations.measure

    async def take_a_second(*arguments: Any) -> Any:
        place.clock.us += 1_000_000
        return await measured(*arguments)

    monkeypatch.setattr(generations, "measure", take_a_second)
    sparing = SparingMeasure(place.clock)

    async def left() -> int:
        async with place.store.read() as r:
            return (await sparing(r, building)).left

    assert await left() == 2
    await place.reanalysis.step()
    assert await left() == 2
    place.clock.us += 20_000_000
    assert await left() == 1
    monkeypatch.undo()
    place.clock.us += 20_000_000
    assert await left() == 1
    await place.reanalysis.step()
    assert await left() == 0  # took no time: it is always new


async def test_records_of_the_same_audio_are_heard_once(place: Place) -> None:
    await heard_with_old(place, 1)
    place.ears.packs, packs = OLD, place.ears.packs
    await place.publish(2, audio=1)
    await place.work()
    assert place.ears.heard == []  # the worker knew it
    place.ears.packs = packs
    await place.arrange(NEW)
    await place.steps()
    assert place.ears.heard == ["audio-1"]
    assert await place.contents(NEW) == ({"audio-1"}, {1, 2})


async def test_passing_trouble_is_tried_again_with_patience_and_then_given_up(place: Place) -> None:
    await heard_with_old(place, 10)
    await place.arrange(NEW)
    place.ears.trouble["audio-1"] = Deadline("no")
    pauses = []
    for _ in range(3):
        await place.steps()
        async with place.store.read() as r:
            building = (await generations.living(r)).building
            if building is None:
                break
            due_us = await generations.next_due_us(r, building, now_us=place.clock.us)
        assert due_us is not None
        pauses.append((due_us - place.clock.us) / 1e6)
        place.clock.us = due_us
    assert pauses == [10.0, 10.0]
    assert place.ears.heard.count("audio-1") == 3
    living = await place.living()
    assert living.serving.packs == NEW  # one of ten is no reason to fail
    async with place.store.read() as r:
        assert (await generations.measure(r, living.serving)).given_up == {"deadline": 1}
    assert len((await place.contents(NEW))[0]) == 9


async def test_an_app_that_does_not_answer_is_waited_for(place: Place) -> None:
    await heard_with_old(place, 2)
    await place.arrange(NEW)
    place.app.silent = True
    for _ in range(40):  # also for longer than a day: a switch would leave nothing in the feeds
        await place.steps()
        place.clock.us += HOUR_US
    assert (await place.living()).serving.packs == OLD
    assert place.ears.heard == []
    place.app.silent = False
    place.clock.us += 6 * HOUR_US
    await place.steps()
    assert (await place.living()).serving.packs == NEW


@pytest.mark.parametrize("trouble", [None, Unreachable("no")], ids=["unanswered", "unreachable"])
async def test_one_that_cannot_be_had_holds_the_switch_up_for_a_day_and_is_heard_later(
    place: Place, trouble: Exception | None
) -> None:
    uris = await heard_with_old(place, 6)
    await place.arrange(NEW)
    if trouble is None:
        place.app.silent_of.add(uris[0])
    else:
        place.ears.trouble["audio-1"] = trouble
    for _ in range(24):
        await place.steps()
        assert (await place.living()).serving.packs == OLD
        place.clock.us += HOUR_US
    await place.steps()
    assert (await place.living()).serving.packs == NEW
    assert (await place.verdict(uris[0])).verdict.labels == ("ambient",)
    assert (await place.contents(NEW))[1] == {2, 3, 4, 5, 6}
    place.app.silent_of.clear()
    place.ears.trouble.clear()
    place.clock.us += 6 * HOUR_US
    await place.steps()
    assert (await place.verdict(uris[0])).verdict.labels == ("techno",)
    assert (await place.contents(NEW))[1] == {1, 2, 3, 4, 5, 6}


async def test_a_host_that_is_away_is_tried_for_days(place: Place) -> None:
    """A day, and then as often as anything else: three times here, every six hours."""
    await heard_with_old(place, 6)
    await place.arrange(NEW)
    place.ears.trouble["audio-1"] = Unreachable("no")
    for _ in range(100):
        await place.steps()
        async with place.store.read() as r:
            target = (await place.living()).building or (await place.living()).serving
            if (await generations.measure(r, target)).given_up:
                break
        place.clock.us += HOUR_US
    assert 36 * HOUR_US <= place.clock.us - START_US <= 48 * HOUR_US
    assert place.ears.heard.count("audio-1") < 30


async def test_waiting_for_an_answer_is_no_attempt(place: Place) -> None:
    """Neither for what is heard again nor for a job."""
    uris = await heard_with_old(place, 6)
    await place.arrange(NEW)
    place.app.silent_of.add(uris[0])
    new = await place.publish(7)
    place.app.silent_of.add(new)
    for _ in range(5):
        await place.work()
        await place.steps()
        place.clock.us += HOUR_US
    place.app.silent_of.remove(uris[0])
    place.ears.trouble["audio-1"] = Unreachable("no")
    for _ in range(7):
        await place.work()
        await place.steps()
        place.clock.us += 2 * HOUR_US
    assert place.ears.heard.count("audio-1") >= 2
    place.app.silent_of.clear()
    place.ears.trouble = {"audio-1": Deadline("no"), "audio-7": Deadline("no")}
    place.clock.us += 6 * HOUR_US
    await place.work()
    await place.steps()
    living = await place.living()
    async with place.store.read() as r:
        assert await generations.count_unheard(r, living.building or living.serving) == ({"deadline": 1}, {})
        job = await jobs.latest(r, new)
        assert job is not None
        assert (job.state, job.reason) == (JobState.READY, "deadline")
    place.ears.trouble.clear()
    place.clock.us += 12 * HOUR_US
    await place.work()
    await place.steps()
    assert (await place.living()).serving.packs == NEW
    assert (await place.contents(NEW))[1] == {1, 2, 3, 4, 5, 6, 7}


@pytest.mark.parametrize(
    ("trouble", "state"),
    [(Undecodable("no"), GenerationState.FAILED), (BlobGone("gone"), GenerationState.SERVING)],
    ids=["cannot-be-heard", "gone"],
)
async def test_a_fifth_may_be_lost_unless_it_is_gone(place: Place, trouble: Exception, state: GenerationState) -> None:
    uris = await heard_with_old(place, 8)
    await place.arrange(NEW)
    place.ears.trouble = {"audio-1": trouble, "audio-2": trouble}
    await place.steps()
    living = await place.living()
    assert living.serving.packs == (NEW if state is GenerationState.SERVING else OLD)
    assert [(await place.verdict(uri)).verdict.labels for uri in uris[:2]] == [
        ("ambient",)
    ] * 2  # nothing is taken back
    if state is GenerationState.FAILED:
        assert living.coming is not None
        assert living.coming.reason == "2 of 8 recordings could not be heard (undecodable 2)"
        assert await place.contents(OLD) == ({f"audio-{n}" for n in range(1, 9)}, set(range(1, 9)))
        await place.arrange(NEW)  # a restart changes nothing
        assert (await place.living()).building is None
        place.ears.trouble = {}
        async with place.store.write() as tx:
            assert await generations.retry(tx, now_us=place.clock.us)
        await place.steps()
        assert (await place.living()).serving.packs == NEW


async def test_a_switch_that_cannot_be_prepared_rolls_back(place: Place) -> None:
    await heard_with_old(place, 2)
    await place.arrange(NEW)

    def refuse(_: Generation) -> None:
        raise OSError(28, "No space left on device")

    place.prepared = refuse
    await place.steps()
    living = await place.living()
    assert living.serving.packs == OLD
    assert living.coming is not None
    assert living.coming.reason == "OSError: [Errno 28] No space left on device"
    assert place.index is None
    assert await place.contents(OLD) == ({"audio-1", "audio-2"}, {1, 2})


async def test_audio_that_crashes_the_child_twice_is_poison(place: Place) -> None:
    await heard_with_old(place, 6)
    await place.arrange(NEW)
    place.ears.trouble["audio-1"] = ChildCrashed("died")
    await place.steps()
    place.clock.us += 10_000_000
    await place.steps()
    async with place.store.read() as r:
        assert (await generations.measure(r, (await generations.living(r)).serving)).given_up == {"poison": 1}


async def test_packs_chosen_back_end_the_move_and_tracks_heard_only_by_the_others_are_heard(place: Place) -> None:
    await heard_with_old(place, 1)
    place.ears.packs = NEW
    await place.arrange(NEW)
    uri = await place.publish(2)
    await place.work()
    place.ears.packs = OLD
    await place.arrange(OLD)
    place.reanalysis = place.new_reanalysis()  # a restart
    await place.steps()
    living = await place.living()
    assert (living.serving.packs, living.coming) == (OLD, None)
    assert await place.contents(NEW) == (set(), set())
    assert await place.contents(OLD) == ({"audio-1", "audio-2"}, {1, 2})
    assert (await place.verdict(uri)).verdict.labels == ("ambient",)


async def test_share_is_kept_and_none_is_none(place: Place) -> None:
    await heard_with_old(place, 2)
    await place.arrange(NEW)

    async def take_two_seconds(_: str) -> None:
        place.clock.us += 2_000_000

    place.ears.meanwhile = take_two_seconds
    place.reanalysis = place.new_reanalysis(share=0.25)
    assert await place.reanalysis.step() == pytest.approx(6.0)
    place.reanalysis = place.new_reanalysis(share=0.0)
    assert await place.reanalysis.step() > 0
    assert place.ears.heard == ["audio-1"]


async def test_several_hands_in_the_foreground_hear_each_audio_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heard_with_old(place, 12)
    await place.arrange(NEW)
    kept = analyses.put
    listed = generations.next_unheard
    ended = asyncio.Event()

    async def keep_and_tell(*arguments: Any, **options: Any) -> None:
        await kept(*arguments, **options)
        ended.set()

    async def list_while_others_end(*arguments: Any, **options: Any) -> Any:
        """What was read is old when it arrives: another hand has ended since."""
        found = await listed(*arguments, **options)
        ended.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.05)
            await asyncio.sleep(0.02)
        return found

    monkeypatch.setattr(analyses, "put", keep_and_tell)
    monkeypatch.setattr(generations, "next_unheard", list_while_others_end)

    async def take_a_moment(_: str) -> None:
        await asyncio.sleep(0.02)

    place.ears.meanwhile = take_a_moment
    await place.publish(13)  # new tracks wait for the service
    await asyncio.wait_for(place.new_reanalysis(yielding=False).finish(4), 30)
    assert (await place.living()).serving.packs == NEW
    assert sorted(place.ears.heard) == sorted({f"audio-{n}" for n in range(1, 13)})
    assert await place.contents(OLD) == (set(), set())


async def test_labels_of_earlier_audio_do_not_count_for_new_audio(place: Place) -> None:
    """New audio that was heard before for another record starts afresh all the same."""
    place.ears.packs = OLD
    await place.arrange(OLD)
    uri = await place.publish(1)
    await place.publish(2)
    await place.work()
    await place.publish(1, rev=1, audio=2)
    await place.work()
    stored = await place.verdict(uri)
    assert (stored.verdict.reason, stored.audio_key) == (None, "audio-2")
    await place.publish(1, rev=2, audio=2, title="other words")
    await place.work()
    assert (await place.verdict(uri)).verdict.reason == "kept ambient"


async def test_killed_at_any_statement_either_the_old_or_the_new_serves_and_it_goes_on(tmp_path: Path) -> None:
    """The power goes out before each statement of the whole move in turn; what is left finishes it."""
    failing: list[FailingEngine] = []

    async def opened(folder: Path) -> Place:
        engine = await SqliteEngine.open(folder / "earmark.db")
        await migrate(engine, packaged_migrations(), now_us=START_US)
        failing[:] = [CountingEngine(engine)]
        return Place(folder, Store(failing[0]), OLD | NEW)

    for fail_at in range(1, 1000):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        place = await opened(folder)
        await heard_with_old(place, 2)
        failing[0].fail_at, failing[0].ran = fail_at, 0
        crashed = False
        try:
            await place.arrange(NEW)
            await place.steps()
        except Crash:
            crashed = True
        await place.store.close()
        place = await opened(folder)
        living = await place.living()
        for packs in (OLD, NEW):
            heard, with_vectors = await place.contents(packs)
            whole = (heard, with_vectors) == ({"audio-1", "audio-2"}, {1, 2})
            assert whole or packs != living.serving.packs, f"statement {fail_at}"
        await place.arrange(NEW)
        await place.steps()
        assert (await place.living()).serving.packs == NEW
        assert await place.contents(NEW) == ({"audio-1", "audio-2"}, {1, 2})
        assert await place.contents(OLD) == (set(), set())
        verdicts = [(await place.verdict(str(record(number).uri))).verdict.labels for number in (1, 2)]
        assert verdicts == [("techno",)] * 2
        await place.store.close()
        if not crashed:
            break
    assert fail_at > 50


class CountingEngine(FailingEngine):
    """Counts over all transactions, and once it has failed, fails."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, at_failure=lambda: None)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        ran = self.ran
        async with super().write() as session:
            self.ran = ran
            yield session

    def count(self) -> None:
        self.ran += 1
        if self.fail_at and self.ran >= self.fail_at:
            raise Crash
