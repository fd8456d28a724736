"""Who likes what, as feeds see it: numbers that join likes of one person and name nobody."""

from __future__ import annotations

from typing import Any

from core.types import AtUri
from store import signals
from store.signals import Signal, SignalKind
from tests.store.conftest import START_US


def said(make: Any, person: int, subject: str, kind: SignalKind = SignalKind.LIKE, at: int = 0) -> Signal:
    record = AtUri.parse(f"at://{make.did(person)}/app.bsky.feed.like/{kind.value}{subject.rpartition('/')[2]}")
    return Signal(record, subject, kind, START_US + at)


async def test_edges_join_the_likes_of_one_person_and_name_nobody(store, make):
    one, two, three = (make.uri(number) for number in range(3))
    async with store.write() as tx:
        await signals.put(tx, [said(make, 1, one), said(make, 1, two), said(make, 2, one), said(make, 3, three)])
        await signals.put(tx, [said(make, 1, one, SignalKind.REPOST)])  # twice the same person of the same track
        edges = await signals.edges(tx)
    likers: dict[str, set[int]] = {}
    for person, subject in zip(edges.people.tolist(), edges.subjects.tolist(), strict=True):
        likers.setdefault(edges.names[subject], set()).add(person)
    assert {subject: len(people) for subject, people in likers.items()} == {one: 2, two: 1, three: 1}
    assert likers[two] < likers[one]
    assert not likers[three] & likers[one]
    assert set().union(*likers.values()) == {0, 1, 2}


async def test_of_many_edges_the_newest_count(store, make):
    async with store.write() as tx:
        await signals.put(tx, [said(make, number, make.uri(number), at=number) for number in range(6)])
        edges = await signals.edges(tx, limit=2)
        nothing = await signals.edges(tx, limit=0)
    assert set(edges.names) == {make.uri(4), make.uri(5)}
    assert (len(nothing.people), len(nothing.subjects), nothing.names) == (0, 0, ())
