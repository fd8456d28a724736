"""Versions of records, tombstones, accounts, and what feeds may show."""

from __future__ import annotations

import dataclasses

import pytest

from core.analysis import Acoustics, Genre, VerdictStatus
from core.job import JobState
from core.link import LinkRule
from core.types import Account, Cid, Track, TrackState, Visibility, make_tid
from store import accounts, analyses, jobs, labels, links, tracks, wishes
from store.wishes import Scope, Wish, WishKind

NOW = 1_800_000_000_000_000


async def test_a_record_comes_back_as_it_was_put(store, make):
    track = make.track(
        1,
        artist="Åse",
        album="Été",
        duration_ms=123_456,
        page_url="https://plyr.fm/track/1",
        self_labels=("!warn",),
        author_tags=("ambient", "drone"),
        credits=(make.did(7),),
        explicit=True,
        gated=True,
        visibility_check="plyr",
        role="sound",
        feeds_min_seconds=20.0,
        hold_until_us=NOW + 5,
        post_refs=("at://did:plc:x/app.bsky.feed.post/3k",),
        verified=True,
        extra={"isrc": "XX", "deep": [1, {"a": None}]},
    )
    async with store.write() as tx:
        assert await tracks.put(tx, track, state=TrackState.REFUSED, reason="gated", now_us=NOW)
    async with store.read() as r:
        stored = await tracks.get(r, str(track.uri))
    assert stored.track == track
    assert (stored.state, stored.reason, stored.visibility) == (TrackState.REFUSED, "gated", Visibility.UNKNOWN)
    assert (stored.first_seen_us, stored.updated_us, stored.account_active) == (NOW, NOW, True)


async def test_bytes_in_a_strangers_record_do_not_stop_the_batch(store, make):
    async with store.write() as tx:
        await make.stored(tx, make.track(1, extra={"cover": b"\x01\xff"}))
        assert (await tracks.get(tx, make.uri(1))).track.extra == {"cover": "01ff"}


@pytest.mark.parametrize("rev", [0, 1])
async def test_an_older_or_equal_rev_changes_nothing(store, place, make, rev):
    async with store.write() as tx:
        await make.stored(tx, make.track(1, rev=1))
    before = place.content()
    async with store.write() as tx:
        late = make.track(1, rev=rev, title="Other")
        assert not await tracks.put(tx, late, state=TrackState.QUEUED, reason=None, now_us=NOW + 9)
    assert place.content() == before


@pytest.mark.parametrize("before_is_proven", [False, True])
async def test_P174_of_two_versions_of_one_rev_the_proven_one_counts(store, make, before_is_proven):
    told, signed = (make.track(1, cid=Cid(cid), rev=1) for cid in ("bafytold", "bafysigned"))
    told, signed = (dataclasses.replace(told, verified=before_is_proven), dataclasses.replace(signed, verified=True))
    async with store.write() as tx:
        await make.stored(tx, told)
        assert await tracks.put(tx, signed, state=TrackState.QUEUED, reason=None, now_us=NOW) is not before_is_proven
        assert not await tracks.put(tx, signed, state=TrackState.QUEUED, reason=None, now_us=NOW)  # once
        kept = (await tracks.get(tx, make.uri(1))).track
    assert kept.cid == ("bafytold" if before_is_proven else "bafysigned")


async def test_a_newer_rev_keeps_number_and_first_sight_and_forgets_visibility(store, make):
    async with store.write() as tx:
        number = await make.stored(tx, make.track(1, visibility_check="plyr"))
        page = "https://plyr.fm/track/9"
        await tracks.set_visibility(tx, make.uri(1), Visibility.PUBLIC, page_url=page, now_us=NOW)
        newer = make.track(1, rev=2, title="New", created_us=NOW + 10**9, visibility_check="plyr")
        assert await tracks.put(tx, newer, state=TrackState.QUEUED, reason=None, now_us=NOW + 5)
        stored = await tracks.get(tx, make.uri(1))
    assert (stored.track_id, stored.first_seen_us, stored.updated_us) == (number, NOW, NOW + 5)
    assert stored.visibility is Visibility.UNKNOWN  # the app said "public" of the older version
    assert stored.track.title == "New"
    assert stored.track.page_url == page  # learnt from the app, not in the record
    assert stored.track.created_us == NOW  # a time in the future becomes the first sight


async def test_p155_a_tombstone_keeps_no_content_and_ends_open_jobs(store, make):
    track = make.track(1, page_url="https://plyr.fm/track/1", credits=(make.did(3),), explicit=True)
    async with store.write() as tx:
        await make.stored(tx, track)
        await jobs.enqueue(tx, make.uri(1), track.cid, now_us=NOW)
        assert await tracks.withdraw(tx, make.uri(1), make_tid(NOW + 2), now_us=NOW + 1)
        stored = await tracks.get(tx, make.uri(1))
        job = await jobs.latest(tx, make.uri(1))
        assert await jobs.claim(tx, "w", now_us=NOW + 10, lease_seconds=9) is None
    blank = make.track(1, rev=2, cid="", title="", created_us=0, blob=None)
    assert stored.track == blank
    assert stored.state is TrackState.WITHDRAWN
    assert (job.state, job.reason) == (JobState.DONE, "superseded")


async def test_p155_a_delete_that_comes_first_wins_over_the_older_create(store, make):
    async with store.write() as tx:
        assert await tracks.withdraw(tx, make.uri(1), make_tid(NOW + 5), now_us=NOW)
        for rev in (4, 5):
            late = make.track(1, rev=rev)
            assert not await tracks.put(tx, late, state=TrackState.QUEUED, reason=None, now_us=NOW)
        assert (await tracks.get(tx, make.uri(1))).state is TrackState.WITHDRAWN
        assert await tracks.put(tx, make.track(1, rev=6), state=TrackState.QUEUED, reason=None, now_us=NOW)
        assert not await tracks.withdraw(tx, make.uri(1), make_tid(NOW + 5), now_us=NOW)
        assert (await tracks.get(tx, make.uri(1))).state is TrackState.QUEUED


async def test_a_replayed_delete_does_the_same_again(store, place, make):
    async with store.write() as tx:
        await make.stored(tx, make.track(1))
        assert await tracks.withdraw(tx, make.uri(1), make_tid(NOW + 2), now_us=NOW)
    before = place.content()
    async with store.write() as tx:
        assert await tracks.withdraw(tx, make.uri(1), make_tid(NOW + 2), now_us=NOW)
    assert place.content() == before


async def test_visibility_does_not_touch_a_tombstone(store, make):
    async with store.write() as tx:
        await tracks.withdraw(tx, make.uri(1), make_tid(NOW), now_us=NOW)
        await tracks.set_visibility(tx, make.uri(1), Visibility.PUBLIC, page_url="https://x.test/1", now_us=NOW)
        stored = await tracks.get(tx, make.uri(1))
    assert (stored.visibility, stored.track.page_url) == (Visibility.UNKNOWN, None)


async def test_p151_an_account_changes_only_when_active_changes(store, place, make):
    did = make.did(0)
    async with store.write() as tx:
        assert not await accounts.put(tx, Account(did, True), now_us=NOW)  # strangers count as active
    assert place.content()["account"] == []
    async with store.write() as tx:
        assert await accounts.put(tx, Account(did, False, "deactivated"), now_us=NOW)
        assert not await accounts.put(tx, Account(did, False, "suspended"), now_us=NOW)
        await make.stored(tx, make.track(1))
        assert not (await tracks.get(tx, make.uri(1))).account_active
        assert [stored.account_active for stored in await tracks.of_account(tx, did)] == [False]
        assert await accounts.put(tx, Account(did, True), now_us=NOW)
        assert (await tracks.get(tx, make.uri(1))).account_active


async def test_tracks_of_an_account_in_order_tombstones_too(store, make):
    async with store.write() as tx:
        for number, artist in ((2, 0), (1, 0), (3, 1)):
            await make.stored(tx, make.track(number, by=artist))
        await tracks.withdraw(tx, make.uri(2), make_tid(NOW + 9), now_us=NOW)
        found = await tracks.of_account(tx, make.did(0))
        counted = await tracks.count_by_state(tx)
    assert [str(stored.track.uri) for stored in found] == [make.uri(2), make.uri(1)]
    assert (counted["queued"], counted["withdrawn"], counted["ready"]) == (2, 1, 0)


async def _judged(store, make, track, *, state=TrackState.READY, rankable=True):
    async with store.write() as tx:
        await make.stored(tx, track, state)
        verdict = make.verdict("ambient", "drone", rankable=rankable)
        await labels.put_verdict(tx, str(track.uri), verdict, now_us=NOW)


async def test_rankable_carries_what_feeds_need(store, make):
    page = "https://plyr.fm/track/1"
    track = make.track(
        1,
        duration_ms=90_000,
        page_url=page,
        credits=(make.did(5),),
        explicit=True,
        album="First",
        hold_until_us=NOW + 5,
    )
    await _judged(store, make, track)
    by_uri, by_page = make.link(make.uri(1), post=2), make.link(page, post=1, rule=LinkRule.PAGE_IN_EMBED, author=2)
    async with store.write() as tx:
        await links.put(tx, [by_uri, by_page, make.link("https://plyr.fm/track/2", post=3)], now_us=NOW)
    async with store.read() as r:
        (found,) = await tracks.rankable(r)
        assert await links.of_track(r, make.uri(1)) == [by_page, by_uri]
    assert dataclasses.asdict(found) == {
        "track_id": 1,
        "uri": make.uri(1),
        "did": make.did(0),
        "title": "Song 1",
        "created_us": track.created_us,
        "first_seen_us": NOW,
        "duration_seconds": 90.0,
        "audio_key": "audio-1",
        "explicit": True,
        "labels": ("ambient", "drone"),
        "credits": (make.did(5),),
        "links": (dataclasses.asdict(by_page), dataclasses.asdict(by_uri)),
        "music": True,
        "role": "track",
        "album": "First",
        "artist": None,
        "isrc": None,
        "style": None,
        "speech": None,
        "voice": None,
        "minor": None,
        "machine": False,
        "release_us": NOW + 5,
    }
    async with store.write() as tx:
        await analyses.put(tx, "audio-1", make.analysis(), now_us=NOW)
        (found,) = await tracks.rankable(tx)
    assert found.duration_seconds == 180.25  # decoded, not declared


@pytest.mark.parametrize(
    ("changes", "options", "shown"),
    [
        ({}, {}, True),
        ({}, {"state": TrackState.UNDECIDED}, True),
        ({}, {"state": TrackState.REFUSED}, False),
        ({}, {"state": TrackState.QUEUED}, True),
        ({}, {"rankable": False}, True),
        ({"gated": True}, {}, False),
        ({"self_labels": ("nudity",)}, {}, False),
        ({"self_labels": ("something-else",)}, {}, True),
        ({"visibility_check": "plyr"}, {}, False),  # not asked yet: never fail open
    ],
)
async def test_rankable_leaves_out(store, make, changes, options, shown):
    await _judged(store, make, make.track(1, **changes), **options)
    async with store.read() as r:
        assert bool(await tracks.rankable(r)) is shown


@pytest.mark.parametrize(
    ("state", "verdict", "music", "labels_told"),
    [
        (TrackState.READY, {"rankable": True}, True, ("ambient",)),
        (TrackState.UNDECIDED, {"rankable": False, "reason": "speech_like"}, False, ("ambient",)),
        (TrackState.QUEUED, {"rankable": True}, None, ()),  # another version is to be heard
        (TrackState.ANALYSING, None, None, ()),
    ],
)
async def test_what_is_heard_says_whether_it_is_music(store, make, state, verdict, music, labels_told):
    async with store.write() as tx:
        await make.stored(tx, make.track(1), state)
        if verdict is not None:
            await labels.put_verdict(tx, make.uri(1), make.verdict("ambient", **verdict), now_us=NOW)
        (found,) = await tracks.rankable(tx)
    assert (found.music, found.labels) == (music, labels_told)


async def test_silence_is_in_no_feed_and_a_refusal_counts_at_once(store, make):
    async with store.write() as tx:
        for number, verdict in enumerate(
            (
                make.verdict(status=VerdictStatus.UNDECIDED, reason="silence", rankable=False),
                make.verdict(status=VerdictStatus.REFUSED, rankable=False),
            )
        ):
            await make.stored(tx, make.track(number), TrackState.READY)
            await labels.put_verdict(tx, make.uri(number), verdict, now_us=NOW)
        assert await tracks.rankable(tx) == []


async def test_the_strongest_style_is_told_if_it_is_strong_and_no_parent(store, make):
    genres = [("electronic", 0.9), ("electronic-ambient", 0.15), ("electronic-drone", 0.14)]
    async with store.write() as tx:
        for number, told in ((1, genres), (2, genres[::2])):
            await make.stored(tx, make.track(number), TrackState.READY)
            heard = tuple(Genre(name, name, score) for name, score in told)
            await labels.put_verdict(tx, make.uri(number), make.verdict(genres=heard), now_us=NOW)
        assert [found.style for found in await tracks.rankable(tx)] == ["electronic-ambient", None]


async def test_what_an_analysis_says_of_voices_counts_for_the_audio_that_was_judged(store, make):
    measured = Acoustics(
        None, 0.0, "C", "minor", 0.2, None, None, -1.0, -1.0, 0.0, bytes(800), 2, 44_100, 0.1, 0.7, 0.4
    )
    analysis = make.analysis(acoustics=measured)
    async with store.write() as tx:
        await make.stored(tx, make.track(1), TrackState.READY)
        await analyses.put(tx, "audio-1", analysis, now_us=NOW)
        grounds = {"audio_key": "audio-1", "generation": analysis.generation}
        await labels.put_verdict(tx, make.uri(1), make.verdict(), now_us=NOW, **grounds)
        (found,) = await tracks.rankable(tx)
    assert (found.speech, found.voice, found.minor) == (0.1, 0.4, True)


@pytest.mark.parametrize(
    ("said", "machine"),
    [({}, False), ({"author_tags": ("Piano", "Suno")}, True), ({"self_labels": ("ai-generated",)}, True)],
)
async def test_that_a_machine_made_it_is_known_by_its_artists_word(store, make, said, machine):
    await _judged(store, make, make.track(1, **said))
    async with store.read() as r:
        (found,) = await tracks.rankable(r)
    assert found.machine is machine


@pytest.mark.parametrize(("answer", "shown"), [(Visibility.PUBLIC, True), (Visibility.HIDDEN, False)])
@pytest.mark.parametrize("check", [None, "plyr"])
async def test_rankable_obeys_the_publishing_app(store, make, check, answer, shown):
    await _judged(store, make, make.track(1, visibility_check=check))
    async with store.write() as tx:
        await tracks.set_visibility(tx, make.uri(1), answer, page_url=None, now_us=NOW)
        assert bool(await tracks.rankable(tx)) is shown


async def test_p151_inactive_accounts_take_their_tracks_and_posts_out_and_back(store, make):
    await _judged(store, make, make.track(1, by=0))
    await _judged(store, make, make.track(2, by=1))
    async with store.write() as tx:
        posts = [make.link(make.uri(1), author=1), make.link(make.uri(1), author=2)]
        await links.put(tx, posts, now_us=NOW)
        await accounts.put(tx, Account(make.did(1), False, "suspended"), now_us=NOW)
        (found,) = await tracks.rankable(tx)
        assert await links.of_track(tx, make.uri(1)) == [posts[1]]
        assert (found.uri, found.links) == (make.uri(1), (posts[1],))
        await accounts.put(tx, Account(make.did(1), True), now_us=NOW)
        both = await tracks.rankable(tx)
    assert [(track.uri, len(track.links)) for track in both] == [(make.uri(1), 2), (make.uri(2, 1), 0)]


@pytest.mark.parametrize(
    ("declared_ms", "decoded", "shown"),
    [(None, None, False), (19_999, None, False), (20_000, None, True), (5, 180, True)],
)
async def test_short_sounds_of_some_collections_are_not_rankable(store, make, declared_ms, decoded, shown):
    await _judged(store, make, make.track(1, duration_ms=declared_ms, feeds_min_seconds=20.0))
    async with store.write() as tx:
        if decoded is not None:
            await analyses.put(tx, "audio-1", make.analysis(), now_us=NOW)
        assert bool(await tracks.rankable(tx)) is shown


@pytest.mark.parametrize("scope", list(Scope))
async def test_the_tracks_and_posts_of_who_wants_no_feeds_are_left_out(store, make, scope):
    await _judged(store, make, make.track(1, by=0))
    await _judged(store, make, make.track(2, by=1))
    async with store.write() as tx:
        await links.put(tx, [make.link(make.uri(1), author=1)], now_us=NOW)
        uri = f"at://{make.did(1)}/example.earmark.optout/self"
        await wishes.put(tx, Wish(uri, make.did(1), WishKind.OPTOUT, make_tid(NOW), scope), now_us=NOW)
        found = {track.uri: len(track.links) for track in await tracks.rankable(tx)}
    willing = scope is Scope.NONE
    assert found == ({make.uri(1): 1, make.uri(2, 1): 0} if willing else {make.uri(1): 0})


async def test_a_blanked_account_keeps_addresses_only(store, make, place):
    rich = make.track(1, album="Album", credits=(make.did(5),), page_url="https://plyr.fm/track/1", verified=True)
    async with store.write() as tx:
        await make.stored(tx, rich)
        await make.stored(tx, make.track(2, by=1))
        await tracks.withdraw(tx, make.uri(3), make_tid(NOW), now_us=NOW)
        await tracks.blank(tx, make.did(0), reason="opted_out", now_us=NOW + 5)
        blank, gone = await tracks.of_account(tx, make.did(0))
        other = await tracks.get(tx, make.uri(2, 1))
    assert blank.track == Track(rich.uri, Cid(""), rich.rev, "", 0)
    assert (blank.state, blank.reason, blank.updated_us) == (TrackState.REFUSED, "opted_out", NOW + 5)
    assert (gone.state, other.track.title) == (TrackState.WITHDRAWN, "Song 2")
    assert not any(word in repr(place.content()["track"]) for word in ("Song 1", "Album", "audio-1", "plyr.fm/track/1"))


async def test_a_version_is_verified_and_a_newer_one_is_not(store, make):
    async with store.write() as tx:
        await make.stored(tx, make.track(1))
        assert not await tracks.verify(tx, make.uri(1), "record-1-9")
        assert not (await tracks.get(tx, make.uri(1))).track.verified
        assert await tracks.verify(tx, make.uri(1), "record-1-1")
        assert (await tracks.get(tx, make.uri(1))).track.verified
        await make.stored(tx, make.track(1, rev=2))
        assert not (await tracks.get(tx, make.uri(1))).track.verified


async def test_only_an_unpinned_tombstone_can_be_replaced_by_the_same_version(store, make):
    async with store.write() as tx:
        await make.stored(tx, make.track(1))
        await tracks.unpin(tx, make.uri(1))  # no tombstone
        await tracks.withdraw(tx, make.uri(1), make.track(1).rev, now_us=NOW)
        assert not await tracks.put(tx, make.track(1), state=TrackState.QUEUED, reason=None, now_us=NOW)
        await tracks.unpin(tx, make.uri(1))
        assert await tracks.put(tx, make.track(1), state=TrackState.QUEUED, reason=None, now_us=NOW)
