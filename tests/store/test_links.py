"""Links, pages, questions and signals: what is kept of posts, and what goes when a post, a record or a person goes."""

from __future__ import annotations

import pytest

from core.link import LinkRule
from core.types import Account, AtUri, TrackState
from store import accounts, labels, links, pages, posters, questions, signals, tracks
from store.signals import Signal, SignalKind

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000
PAGE = "https://music.example/song"


async def judge(tx, make, number, **changes):
    track = make.track(number, **changes)
    await make.stored(tx, track, TrackState.READY)
    await labels.put_verdict(tx, str(track.uri), make.verdict("ambient"), now_us=NOW)


async def shown(reader):
    """The posts that may stand for the only track."""
    (track,) = await tracks.rankable(reader)
    return [link.post_uri for link in track.links]


async def test_every_link_is_kept_and_only_usable_ones_are_ranked(store, make):
    uri = make.uri(1)
    usable = make.link(uri, post=1, author=3)
    async with store.write() as tx:
        await judge(tx, make, 1)
        odd = [
            make.link(uri, post=2, reply=True),
            make.link(uri, post=3, adult=True),
            make.link(uri, post=4, targets_in_post=2),
            make.link(uri, post=5, created_us=make.track(1).created_us - DAY - 1),
        ]
        await links.put(tx, [usable, *odd], now_us=NOW)
        assert await shown(tx) == [usable.post_uri]
        assert len(await links.of_track(tx, uri)) == 5
        assert len(await links.of_track(tx, uri, limit=2)) == 2


async def test_what_a_link_says_of_its_post_comes_back_and_follows_the_post(store, make):
    uri = make.uri(1)
    first = make.link(uri, post=1, card=True, langs=("pt", "en"))
    async with store.write() as tx:
        await judge(tx, make, 1)
        await links.put(tx, [first], now_us=NOW)
        assert await links.of_track(tx, uri) == [first]
        (track,) = await tracks.rankable(tx)
        assert track.links == (first,)
        edited = make.link(uri, post=1, card=True)
        await links.put(tx, [edited], now_us=NOW + 1)
        assert await links.of_track(tx, uri) == [edited]


async def test_a_flood_of_links_does_not_push_the_artists_own_posts_out(store, make):
    """The best 50 are ranked: own, credited, what somebody likes, then by the account's age, rule, card and time."""
    uri = make.uri(1)
    flood = [make.link(uri, post=n, author=n % 60 + 10, card=True, created_us=NOW) for n in range(200)]
    weak = [
        make.link(uri, post=500 + n, author=90, rule=LinkRule.PAGE_SAYS, created_us=NOW - DAY // 2) for n in range(5)
    ]
    own = make.link(uri, post=900, rule=LinkRule.PAGE_IN_FACET, created_us=NOW + DAY)
    credited = make.link(uri, post=901, author=5, rule=LinkRule.PAGE_SAYS, created_us=NOW + DAY)
    async with store.write() as tx:
        await judge(tx, make, 1, credits=(make.did(5),))
        await links.put(tx, [*flood, *weak, own, credited], now_us=NOW)
        found = await shown(tx)
        assert len(found) == links.MAX_RANKED
        assert {own.post_uri, credited.post_uri} <= set(found)
        assert not {link.post_uri for link in weak} & set(found)
        await posters.meet(tx, make.did(90), now_us=NOW)
        await posters.settle(tx, make.did(90), 1)
        await signals.put(tx, [signal(make, 7, flood[199].post_uri)])
        (track,) = await tracks.rankable(tx)
    known = {link.post_uri: (link.author_born_us, link.liked) for link in track.links}
    assert [known.get(link.post_uri) for link in weak] == [(1, False)] * 5
    assert known[flood[199].post_uri] == (None, True)


async def test_posts_of_who_opted_out_stand_for_nothing(store, make):
    async with store.write() as tx:
        await judge(tx, make, 1)
        await links.put(tx, [make.link(make.uri(1), post=n, author=n) for n in (1, 2, 3)], now_us=NOW)
        for number, scope in ((1, "feeds"), (2, "all"), (3, "none")):
            await tx.run(
                "wishes.put",
                uri=f"at://{make.did(number)}/x.y.z/self",
                did=make.did(number),
                kind="optout",
                scope=scope,
                logged_in_only=0,
                rev="3kaaaaaaaaaa2",
                now_us=NOW,
            )
        assert await shown(tx) == [make.link("", post=3, author=3).post_uri]


async def test_a_dropped_post_rings_and_a_post_without_links_does_not(store, make):
    link = make.link(make.uri(1))
    async with store.write() as tx:
        await links.put(tx, [link], now_us=NOW)
        assert await links.is_linked(tx, link.post_uri)
        assert await links.newest_posts(tx, limit=5) == [link.post_uri]
    rung = store.bell.count("link")
    async with store.write() as tx:
        assert not await links.drop_post(tx, make.link("", post=7).post_uri)
    assert store.bell.count("link") == rung
    async with store.write() as tx:
        assert await links.drop_post(tx, link.post_uri)
        assert not await links.is_linked(tx, link.post_uri)
    assert store.bell.count("link") == rung + 1


async def test_a_target_that_is_gone_takes_its_links_and_rings(store, make):
    one, two = make.link(make.uri(1), targets_in_post=2), make.link(make.uri(2), targets_in_post=2)
    async with store.write() as tx:
        await judge(tx, make, 2)
        await links.put(tx, [one, two], now_us=NOW)
        assert await shown(tx) == []
    rung = store.bell.count("link")
    async with store.write() as tx:
        await links.drop_target(tx, make.uri(1))
        await links.drop_target(tx, make.uri(9))
        assert await shown(tx) == [two.post_uri]  # the post is about this one alone now
    assert store.bell.count("link") == rung + 1


async def test_p151_a_deleted_account_takes_links_by_it_and_to_it(store, make):
    by, to, other = (
        make.link(make.uri(1, by=2), author=1),
        make.link(make.uri(1, by=1), author=2),
        make.link(make.uri(5)),
    )
    async with store.write() as tx:
        await links.put(tx, [by, to, other], now_us=NOW)
        await links.forget_account(tx, make.did(1))
        assert [await links.is_linked(tx, link.post_uri) for link in (by, to, other)] == [False, False, True]


async def test_strangers_ring_nothing(store, make):
    async with store.write() as tx:
        await judge(tx, make, 1)
        await links.put(tx, [make.link(make.uri(1), author=2)], now_us=NOW)
    for number, rings in ((0, 1), (2, 1), (3, 0)):  # the artist, who posted it, a stranger
        before = store.bell.count("link")
        async with store.write() as tx:
            await links.ring_for(tx, make.did(number))
        assert store.bell.count("link") - before == rings


async def test_r7_a_page_that_names_a_track_makes_its_links_count(store, make):
    link = make.link(PAGE, rule=LinkRule.PAGE_SAYS)
    async with store.write() as tx:
        await judge(tx, make, 1)
        assert await pages.ask(tx, PAGE, now_us=NOW)
        assert await pages.ask(tx, PAGE, now_us=NOW)  # twice is once
        await links.put(tx, [link], now_us=NOW)
        assert await pages.due(tx, now_us=NOW, limit=5) == [(PAGE, 0)]
        assert await shown(tx) == []
        await pages.put_off(tx, PAGE, attempts=1, due_us=NOW + 5)
        assert await pages.due(tx, now_us=NOW, limit=5) == []
        assert await pages.due(tx, now_us=NOW + 5, limit=5) == [(PAGE, 1)]
        await pages.settle(tx, PAGE, make.uri(1), now_us=NOW)
        assert await shown(tx) == [link.post_uri]
        assert await links.of_track(tx, make.uri(1)) == [link]
        assert await pages.due(tx, now_us=NOW + DAY, limit=5) == []


async def test_r7_a_page_without_a_track_is_no_link(store, make):
    """A post with such a page and one more link turns out to be about that one alone."""
    both = {"rule": LinkRule.PAGE_SAYS, "targets_in_post": 2}
    async with store.write() as tx:
        await judge(tx, make, 1)
        for url in (PAGE, PAGE + "2"):
            await pages.ask(tx, url, now_us=NOW)
        await links.put(tx, [make.link(PAGE, **both), make.link(PAGE + "2", **both)], now_us=NOW)
        await pages.settle(tx, PAGE, make.uri(1), now_us=NOW)
        assert await shown(tx) == []
        await pages.settle(tx, PAGE + "2", None, now_us=NOW)
        assert await shown(tx) == [make.link("").post_uri]
        assert not await pages.ask(tx, PAGE + "2", now_us=NOW)
        await pages.settle(tx, PAGE, None, now_us=NOW + 31 * DAY)
        assert await pages.ask(tx, PAGE + "2", now_us=NOW + 31 * DAY)  # asked anew after a month


async def test_a_flood_of_pages_is_not_asked(store, monkeypatch):
    monkeypatch.setattr(pages, "MAX_WAITING", 2)
    async with store.write() as tx:
        assert [await pages.ask(tx, f"{PAGE}{n}", now_us=NOW) for n in range(3)] == [True, True, False]


async def test_questions_come_at_once_then_after_an_hour_a_day_and_a_week(store, make, clock):
    uri, now, asked = make.uri(1), NOW, []
    async with store.write() as tx:
        await questions.ask(tx, uri, now_us=now)
        while now < NOW + 30 * DAY:
            for found, times in await questions.due(tx, now_us=now, limit=5):
                asked.append(now - NOW)
                await questions.settle(tx, found, asked=times + 1, now_us=now)
            now += 3_600_000_000 // 2
        assert asked == [0, DAY // 24, DAY, 7 * DAY]
        assert await tx.rows("questions.due", now_us=2**62, limit=5) == []


async def test_a_question_that_nobody_can_answer_waits_until_somebody_can(store, make):
    async with store.write() as tx:
        await questions.ask(tx, make.uri(1), now_us=NOW)
        await questions.ask(tx, make.uri(2), now_us=NOW)
        await questions.shelve(tx, make.uri(1))
        await questions.drop(tx, make.uri(2))
        assert await questions.due(tx, now_us=NOW + 999 * DAY, limit=5) == []
        await questions.wake(tx, now_us=NOW)
        assert await questions.due(tx, now_us=NOW, limit=5) == [(make.uri(1), 0)]


def signal(make, actor, subject, kind=SignalKind.LIKE, rkey="a"):
    return Signal(AtUri.parse(f"at://{make.did(actor)}/fm.plyr.like/{rkey}"), subject, kind, NOW)


async def test_signals_count_people_and_keep_no_names(store, make, place):
    one, two = make.uri(1), make.uri(2)
    async with store.write() as tx:
        await signals.put(tx, [signal(make, 1, one), signal(make, 1, one, rkey="b"), signal(make, 2, one)])
        await signals.put(tx, [signal(make, 1, two, SignalKind.PLAYLIST, rkey="c"), signal(make, 1, one)])
        assert await signals.counts(tx, [one, two, make.uri(3)]) == {
            one: {SignalKind.LIKE: 2},
            two: {SignalKind.PLAYLIST: 1},
            make.uri(3): {},
        }
    assert make.did(1) not in repr(place.content()["signal"])
    async with store.write() as tx:
        await signals.drop_record(tx, str(signal(make, 1, one).record))
        assert await signals.counts(tx, [one]) == {one: {SignalKind.LIKE: 2}}  # the second like of the same person
        await signals.drop_record(tx, str(signal(make, 1, one, rkey="b").record))
        assert await signals.counts(tx, [one]) == {one: {SignalKind.LIKE: 1}}


@pytest.mark.parametrize("gone", [1, 0])
async def test_p151_a_deleted_account_takes_what_it_said_and_what_was_said_of_it(store, make, gone):
    async with store.write() as tx:
        await signals.put(tx, [signal(make, 1, make.uri(1)), signal(make, 2, make.uri(1, by=9))])
        await signals.forget_account(tx, make.did(gone))
        assert await signals.counts(tx, [make.uri(1), make.uri(1, by=9)]) == {
            make.uri(1): {},
            make.uri(1, by=9): {SignalKind.LIKE: 1},
        }
        await signals.drop_subject(tx, make.uri(1, by=9))
        assert await signals.counts(tx, [make.uri(1, by=9)]) == {make.uri(1, by=9): {}}


async def test_posts_of_inactive_authors_stand_for_nothing_until_they_return(store, make):
    link = make.link(make.uri(1), author=2)
    async with store.write() as tx:
        await judge(tx, make, 1)
        await links.put(tx, [link], now_us=NOW)
        await accounts.put(tx, Account(make.did(2), False, "takendown"), now_us=NOW)
        assert await shown(tx) == []
        await accounts.put(tx, Account(make.did(2), True), now_us=NOW)
        assert await shown(tx) == [link.post_uri]


async def test_the_age_of_posters_is_asked_once(store, make):
    did = make.did(1)
    async with store.write() as tx:
        await posters.meet(tx, did, now_us=NOW)
        await posters.meet(tx, did, now_us=NOW + 5)
        assert await posters.due(tx, now_us=NOW, limit=5) == [(did, NOW, 0)]
        await posters.put_off(tx, did, attempts=1, due_us=NOW + 9)
        assert await posters.due(tx, now_us=NOW + 8, limit=5) == []
        assert await posters.due(tx, now_us=NOW + 9, limit=5) == [(did, NOW, 1)]
        await posters.settle(tx, did, 7)
        await posters.meet(tx, did, now_us=NOW)
        assert await posters.due(tx, now_us=2**62, limit=5) == []
        await links.forget_account(tx, did)
        await posters.meet(tx, did, now_us=NOW)
        assert await posters.due(tx, now_us=NOW, limit=5) == [(did, NOW, 0)]
