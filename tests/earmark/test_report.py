"""What is told of a track: all that was heard of a public one, nothing of one that is kept from the public."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.analysis import Acoustics, Analysis, Segment, Tag, Verdict, VerdictStatus, generation_of
from core.clock import SystemClock
from core.label import Label
from core.taxonomy import Taxonomy
from core.types import Account, AtUri, BlobRef, Cid, Tid, Track, TrackState, Visibility, make_tid
from earmark.report import track_report
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from store import Store, accounts, analyses, generations, labels, tracks, wishes
from store.wishes import Scope, Wish, WishKind

NOW_US = 1_800_000_000_000_000
LABELER = "did:plc:labeler22222222222222222"
PACKS = {"effnet": "hash"}
RKEY = make_tid(1_700_000_000_000_000)
URI = AtUri.parse(f"at://did:plc:{'a' * 24}/fm.plyr.track/{RKEY}")
PROFILE, FIRST = f"at://{URI.did}/app.bsky.actor.profile/self", make_tid(1_600_000_000_000_000)
TAXONOMY = Taxonomy.load()
POLICY = Policy(TAXONOMY, TagMapping.load(TAXONOMY))
ACOUSTICS = Acoustics(
    bpm=120.04, bpm_confidence=0.4, key="A", mode="minor", key_confidence=0.05, loudness_lufs=-9.84,
    loudness_range_lu=None, sample_peak_dbfs=-0.1, true_peak_dbtp=0.312, clipped=0.0, peaks=bytes(range(200)) * 4,
    channels=2, sample_rate=44_100, speech=0.0, music=1.0, voice=0.25,
)  # fmt: skip


def mix(acoustics: Acoustics | None = ACOUSTICS) -> Analysis:
    stretches = (Segment(0.0, 500.0, (Tag("Electronic---Techno", "discogs", 0.5),)), Segment(500.0, 4000.0, ()))
    return Analysis(PACKS, 4000.0, -14.0, (), {}, acoustics, stretches)


HEARD = ("bafkrei", generation_of(PACKS))


async def fill(
    store: Store, visibility: Visibility, analysis: Analysis, grounds: tuple[str | None, str | None] | None = HEARD
) -> None:
    """One track that asks its app, its audio heard; `grounds` of its verdict, None if there is none yet."""
    blob = BlobRef(Cid("bafkrei"), "audio/mpeg", 10)
    track = Track(URI, Cid("bafy"), Tid(RKEY), "T", 1, blob=blob, visibility_check="plyr")
    assert track.audio_key is not None
    async with store.write() as tx:
        await generations.arrange(tx, PACKS, now_us=NOW_US)
        await wishes.put(tx, Wish(PROFILE, URI.did, WishKind.PROFILE, FIRST), now_us=NOW_US)
        await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=NOW_US)
        await tracks.set_visibility(tx, str(URI), visibility, page_url=None, now_us=NOW_US)
        await analyses.put(tx, track.audio_key, analysis, now_us=NOW_US)
        if grounds is not None:
            verdict, (audio_key, generation) = Verdict(VerdictStatus.OK, ("electronic",)), grounds
            await labels.put_verdict(tx, str(URI), verdict, now_us=NOW_US, audio_key=audio_key, generation=generation)


@pytest.mark.parametrize("peaks", [False, True])
async def test_a_public_track_is_told_with_what_was_measured(tmp_path: Path, peaks: bool) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        await fill(store, Visibility.PUBLIC, mix())
        async with store.read() as reader:
            report = await track_report(reader, str(URI), labeler_did="", describe=POLICY.describe, peaks=peaks)
        assert report is not None
        told = report["analysis"]
        assert (told["packs"], told["duration_seconds"]) == (PACKS, 4000.0)
        assert (told["acoustics"]["bpm"], told["acoustics"]["key"]) == (120.0, None)  # the key is unsure
        assert (told["acoustics"]["loudness_lufs"], told["acoustics"]["loudness_range_lu"]) == (-9.8, None)
        assert told["acoustics"].get("peaks") == (list(range(200)) * 4 if peaks else None)
        assert told["segments"] == [
            {
                "start": 0.0,
                "end": 500.0,
                "genres": [{"identifier": "electronic-techno", "display": "Techno", "score": 0.5}],
            },
            {"start": 500.0, "end": 4000.0, "genres": []},
        ]
    finally:
        await store.close()


@pytest.mark.parametrize("visibility", [Visibility.HIDDEN, Visibility.UNKNOWN])
async def test_of_a_track_that_is_not_public_nothing_heard_is_told(tmp_path: Path, visibility: Visibility) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        await fill(store, visibility, mix())
        async with store.read() as reader:
            report = await track_report(reader, str(URI), labeler_did="", describe=POLICY.describe, peaks=True)
        assert report is not None
        assert (report["title"], report["analysis"]) == (None, None)
    finally:
        await store.close()


async def test_until_the_artists_profile_was_read_nothing_is_told(tmp_path: Path) -> None:
    """It may say `!no-unauthenticated`; a track can wait in the queue for long before it is asked for."""
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        await fill(store, Visibility.PUBLIC, mix())
        async with store.write() as tx:
            await wishes.forget(tx, URI.did, before_rev=RKEY)
        async with store.read() as reader:
            report = await track_report(reader, str(URI), labeler_did=LABELER, describe=POLICY.describe)
        assert report is not None
        assert (report["title"], report["analysis"], report["state"]) == (None, None, "ready")
    finally:
        await store.close()


async def hide(store: Store, way: str) -> None:
    """What keeps a public track from people who are logged out."""
    async with store.write() as tx:
        if way in ("takendown", "suspended", "deactivated", "something new"):
            await accounts.put(tx, Account(URI.did, False, way), now_us=NOW_US)
        elif way == "held":
            await tracks.set_state(tx, str(URI), TrackState.QUEUED, "held", now_us=NOW_US)
        else:
            scope = Scope.ALL if way == "opted out" else Scope.NONE
            wish = Wish(PROFILE, URI.did, WishKind.PROFILE, Tid(RKEY), scope, way == "logged in only")
            await wishes.put(tx, wish, now_us=NOW_US)


@pytest.mark.parametrize(
    "way", ["takendown", "suspended", "deactivated", "something new", "held", "opted out", "logged in only"]
)
async def test_P151_who_is_kept_from_people_who_are_logged_out_is_not_told_of(tmp_path: Path, way: str) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        await fill(store, Visibility.PUBLIC, mix())
        async with store.write() as tx:
            label = Label(LABELER, str(URI), "electronic", "2026-01-01T00:00:00.000Z", sig=b"s" * 64)
            await labels.append(tx, [label], key_id="k")
        async with store.read() as reader:
            told = await track_report(reader, str(URI), labeler_did=LABELER, describe=POLICY.describe)
        assert told is not None
        assert (told["title"], [row["val"] for row in told["labels"]]) == ("T", ["electronic"])
        await hide(store, way)
        async with store.read() as reader:
            report = await track_report(reader, str(URI), labeler_did=LABELER, describe=POLICY.describe)
        assert report is not None
        assert (report["title"], report["artist"], report["analysis"]) == (None, None, None)
        assert (report["labels"], report["posts"]) == ([], [])
        assert (report["verdict"]["labels"], report["verdict"]["genres"], report["verdict"]["notes"]) == ([], [], [])
    finally:
        await store.close()


@pytest.mark.parametrize("grounds", [None, (None, None), ("bafkrei", None), ("bafother", HEARD[1])])
async def test_audio_that_was_heard_for_another_record_is_not_told(
    tmp_path: Path, grounds: tuple[str | None, str | None] | None
) -> None:
    """A record may name the audio of another track, one that is hidden by now: queued, refused, or changed to it."""
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        await fill(store, Visibility.PUBLIC, mix(), grounds)
        async with store.read() as reader:
            report = await track_report(reader, str(URI), labeler_did="", describe=POLICY.describe, peaks=True)
        assert report is not None
        assert (report["title"], report["analysis"]) == ("T", None)
    finally:
        await store.close()


@pytest.mark.parametrize("acoustics", [ACOUSTICS, None])
async def test_the_verb_shows_it_to_people(tmp_path: Path, acoustics: Acoustics | None) -> None:
    (tmp_path / "data").mkdir()
    store = await Store.open(tmp_path / "data" / "earmark.db", clock=SystemClock())
    try:
        await fill(store, Visibility.PUBLIC, mix(acoustics))
    finally:
        await store.close()
    command = [sys.executable, "-m", "earmark.cli", "track", str(URI)]
    environment = {"EARMARK_HOME": str(tmp_path), "COLUMNS": "120"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert "0:00-8:20 Techno 0.50" in done.stdout
    assert "8:20-1:06:40" in done.stdout
    assert ("120 bpm, -9.8 LUFS" if acoustics else "not known") in done.stdout
