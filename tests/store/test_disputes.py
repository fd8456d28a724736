"""Disputes, actions and used tokens as they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from core.types import TrackState
from store import actions, disputes, links, tracks, used_tokens, wishes
from store.actions import ActorKind
from store.disputes import DisputeState, NewDispute
from store.wishes import Scope, Wish, WishKind
from tests.store.conftest import START_US

DAY_US = 86_400_000_000


def dispute(
    make: Any, number: int, *, by: int = 1, track: int = 1, at_us: int = START_US, **changes: Any
) -> NewDispute:
    fields: dict[str, Any] = {
        "created_us": at_us,
        "state": DisputeState.OPEN,
        "reporter": make.did(by),
        "by_artist": False,
        "uri": make.uri(track),
        "subject": f"at://{make.did(by)}/app.bsky.feed.post/p{number}",
        "subject_cid": "bafy",
        "reason_type": "other",
        "words": f"words {number}",
        "digest": f"digest {number}",
        "labels": ("rock",),
        "denied": frozenset({"rock"}),
        "stated": ("jazz",),
    }
    return NewDispute(**(fields | changes))


async def test_a_dispute_comes_back_as_it_was_added(store, make):
    new = dispute(make, 1)
    async with store.write() as tx:
        number = await disputes.add(tx, new)
        found = await disputes.get(tx, number)
        assert (await disputes.same(tx, new.digest), await disputes.same(tx, "another")) == (found, None)
        assert await disputes.get(tx, number + 1) is None
    for name in ("created_us", "state", "reporter", "uri", "subject", "words", "labels", "denied", "stated"):
        assert getattr(found, name) == getattr(new, name)
    assert (found.decided_us, found.decided_by, found.decision) == (None, None, None)


async def test_pages_and_states(store, make):
    async with store.write() as tx:
        numbers = [await disputes.add(tx, dispute(make, number, track=number % 2)) for number in range(6)]
        await disputes.decide(tx, numbers[2], DisputeState.ACCEPTED, by="me", decision="why", now_us=START_US + 5)

        async def told(**page: Any) -> list[int]:
            return [one.dispute_id for one in await disputes.page(tx, **page)]

        assert await told() == numbers[::-1]
        assert await told(limit=2, before=numbers[4]) == [numbers[3], numbers[2]]
        assert await told(state=DisputeState.OPEN) == [number for number in numbers[::-1] if number != numbers[2]]
        assert await told(state=DisputeState.ACCEPTED) == [numbers[2]]
        assert [one.dispute_id for one in await disputes.of_track(tx, make.uri(0))] == [
            numbers[4],
            numbers[2],
            numbers[0],
        ]
        decided = await disputes.get(tx, numbers[2])
    assert (decided.state, decided.decided_us, decided.decided_by, decided.decision) == (
        DisputeState.ACCEPTED,
        START_US + 5,
        "me",
        "why",
    )


@pytest.mark.parametrize(
    ("state", "by_artist", "stands"),
    [
        (DisputeState.OPEN, True, True),
        (DisputeState.OPEN, False, False),
        (DisputeState.ACCEPTED, False, True),
        (DisputeState.REJECTED, True, False),
        (DisputeState.DONE, True, False),
    ],
)
async def test_an_artists_word_is_in_force_at_once_that_of_others_when_accepted(store, make, state, by_artist, stands):
    async with store.write() as tx:
        number = await disputes.add(tx, dispute(make, 1, state=state, by_artist=by_artist))
        standing = [one.dispute_id for one in await disputes.standing(tx, make.uri(1))]
    assert standing == ([number] if stands else [])


async def test_P96_words_and_sender_are_erased_when_their_time_is_over(store, place, make):
    async with store.write() as tx:
        await disputes.add(tx, dispute(make, 1))
        await disputes.add(tx, dispute(make, 2, at_us=START_US + DAY_US))
        assert await disputes.erase(tx, before_us=START_US + 1) == 1
        assert await disputes.erase(tx, before_us=START_US + 1) == 0
        old, new = await disputes.get(tx, 1), await disputes.get(tx, 2)
    assert (old.reporter, old.words, old.subject, old.subject_cid) == (None, None, make.uri(1), None)
    assert (old.labels, old.denied, old.stated) == (("rock",), {"rock"}, ("jazz",))  # what was decided stays
    assert (new.reporter, new.words) == (make.did(1), "words 2")
    rows = str([row for row in place.content()["dispute"] if row[0] == 1])
    assert make.did(1) not in rows
    assert "digest 1" not in rows  # it could be tried out


async def test_P96_the_reports_of_an_hour_are_counted_by_account(store, make):
    async with store.write() as tx:
        for number in range(3):
            await disputes.add(tx, dispute(make, number, at_us=START_US + number))
        await disputes.add(tx, dispute(make, 9, by=2))
        assert await disputes.sent_since(tx, make.did(1), START_US) == 2
        assert await disputes.sent_since(tx, make.did(3), 0) == 0


async def test_P122_a_token_is_used_once_until_it_expires(store, make):
    async with store.write() as tx:

        async def use(token: str, at_us: int, by: int = 0) -> bool:
            return await used_tokens.use(tx, make.did(by), token, until_us=START_US + 10, now_us=at_us)

        assert [await use("a", START_US), await use("a", START_US + 9), await use("b", START_US)] == [True, False, True]
        assert await use("a", START_US, by=1)
        assert await use("a", START_US + 10)  # expired: `check` refuses it by then


async def test_P122_so_many_tokens_are_held_and_no_more(store, make, monkeypatch):
    monkeypatch.setattr(used_tokens, "MAX_HELD", 10)
    monkeypatch.setattr(used_tokens, "_DROPPED_AT_ONCE", 4)
    async with store.write() as tx:
        for number in range(30):
            assert await used_tokens.use(tx, make.did(number), "t", until_us=START_US + number + 1, now_us=START_US)
        assert await tx.value("used_tokens.held") <= 10
        assert not await used_tokens.use(tx, make.did(29), "t", until_us=START_US + 30, now_us=START_US)
        assert await used_tokens.use(
            tx, make.did(0), "t", until_us=START_US + 1, now_us=START_US
        )  # one of the first to go


async def test_the_log_of_actions_has_no_gaps_and_goes_backwards(store, make):
    async with store.write() as tx:
        for number in range(5):
            await actions.note(
                tx,
                at_us=START_US + number,
                actor_kind=ActorKind.OPERATOR,
                actor="me",
                verb="label.negate",
                uri=make.uri(number % 2),
                reason="why",
                detail={"labels": ["rock"]},
            )
        await actions.note(tx, at_us=START_US, actor_kind=ActorKind.ARTIST, actor=None, verb="x", did=make.did(7))
        assert [one.action_id for one in await actions.page(tx)] == [6, 5, 4, 3, 2, 1]
        assert [one.action_id for one in await actions.page(tx, before=5, limit=2)] == [4, 3]
        assert [one.action_id for one in await actions.of(tx, make.uri(0))] == [5, 3, 1]
        assert [one.action_id for one in await actions.about(tx, make.did(0), limit=2)] == [5, 4]
        [alone] = await actions.about(tx, make.did(7))
        first = (await actions.of(tx, make.uri(0)))[-1]
    assert (alone.uri, alone.did, alone.actor, dict(alone.detail)) == (None, make.did(7), None, {})
    assert (first.did, first.actor, first.reason, dict(first.detail)) == (
        make.did(0),
        "me",
        "why",
        {"labels": ["rock"]},
    )


async def test_what_a_report_said_stays_when_its_account_is_deleted(store, make):
    """A record can be read again should the account come back; a report cannot."""
    async with store.write() as tx:
        await wishes.put(tx, wishes.in_report(make.did(1), Scope.ALL, now_us=START_US), now_us=START_US)
        record = f"at://{make.did(1)}/example.earmark.optout/self"
        block = Wish(record, make.did(1), WishKind.OPTOUT, wishes.in_report(make.did(1), Scope.ALL, now_us=1).rev)
        await wishes.put(tx, block, now_us=START_US)
        await wishes.forget(tx, make.did(1), before_rev="zzzzzzzzzzzzz")
        assert (await wishes.of(tx, make.did(1))).scope is Scope.ALL
        assert await wishes.said(tx, record) is None
        later = wishes.in_report(make.did(1), Scope.NONE, now_us=START_US + 1)
        assert await wishes.put(tx, later, now_us=START_US + 1)
        assert (await wishes.of(tx, make.did(1))).scope is Scope.NONE


async def test_a_post_stands_for_the_one_thing_that_it_links(store, make):
    page = "https://music.example/track/1"
    async with store.write() as tx:
        await make.stored(tx, make.track(1))
        await make.stored(tx, make.track(2, page_url=page))
        await links.put(tx, [make.link(make.uri(1), post=1)], now_us=START_US)
        await links.put(tx, [make.link(page, post=2)], now_us=START_US)
        await links.put(tx, [make.link(make.uri(n), post=3, targets_in_post=2) for n in (1, 2)], now_us=START_US)
        await links.put(tx, [make.link(make.uri(9), post=4)], now_us=START_US)
        found = [await links.tracks_of(tx, make.link("", post=post).post_uri) for post in (1, 2, 3, 4, 5)]
    assert found == [[make.uri(1)], [make.uri(2)], [], [], []]


async def test_a_track_of_which_nothing_was_kept_comes_back_as_the_same_version(store, make):
    """Who opts in again by a report writes nothing into the repository: a walk finds it at the revision it had."""
    track = make.track(1)
    async with store.write() as tx:
        await make.stored(tx, track)
        await tracks.blank(tx, track.did, reason="opted_out", now_us=START_US)
        assert await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=START_US)
        assert (await tracks.get(tx, str(track.uri))).state is TrackState.QUEUED
        assert not await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=START_US)
