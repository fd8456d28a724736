"""What artists wish, and the fields that nobody mapped."""

from __future__ import annotations

import pytest

from core.types import make_tid
from store import unmapped, wishes
from store.wishes import Scope, Standing, Wish, WishKind

NOW = 1_800_000_000_000_000


def wish(make, number, scope=Scope.ALL, *, rev=1, by=0, logged_in_only=False, kind=WishKind.OPTOUT):
    uri = f"at://{make.did(by)}/example.earmark.optout/{number}"
    return Wish(uri, make.did(by), kind, make_tid(NOW + rev), scope, logged_in_only)


async def test_only_a_newer_revision_counts(store, make):
    async with store.write() as tx:
        assert await wishes.put(tx, wish(make, 1, rev=2), now_us=NOW)
        for rev in (1, 2):
            assert not await wishes.put(tx, wish(make, 1, Scope.NONE, rev=rev), now_us=NOW)
        assert await wishes.of(tx, make.did(0)) == Standing(Scope.ALL)
        assert await wishes.put(tx, wish(make, 1, Scope.NONE, rev=3), now_us=NOW)
        assert await wishes.of(tx, make.did(0)) == Standing()
        assert await wishes.said(tx, wish(make, 1).uri) is not None
        assert await wishes.said(tx, wish(make, 2).uri) is None


@pytest.mark.parametrize(
    ("scopes", "strongest"),
    [
        ((), Scope.NONE),
        ((Scope.NONE,), Scope.NONE),
        ((Scope.NONE, Scope.FEEDS), Scope.FEEDS),
        ((Scope.ALL, Scope.FEEDS), Scope.ALL),
    ],
)
async def test_the_strongest_of_several_counts(store, make, scopes, strongest):
    async with store.write() as tx:
        for number, scope in enumerate(scopes):
            await wishes.put(tx, wish(make, number, scope, logged_in_only=number == 1), now_us=NOW)
        assert await wishes.of(tx, make.did(0)) == Standing(strongest, len(scopes) > 1)
        assert await wishes.logged_in_only(tx, make.did(0)) is (len(scopes) > 1)
        assert await wishes.of(tx, make.did(1)) == Standing()


async def test_a_profile_is_known_until_its_account_is_forgotten(store, make):
    async with store.write() as tx:
        await wishes.put(tx, wish(make, 1), now_us=NOW)
        assert not await wishes.profile_known(tx, make.did(0))
        await wishes.put(tx, wish(make, 2, Scope.NONE, rev=5, kind=WishKind.PROFILE), now_us=NOW)
        assert await wishes.profile_known(tx, make.did(0))
        await wishes.forget(tx, make.did(0), before_rev=make_tid(NOW + 5))
        assert (await wishes.profile_known(tx, make.did(0)), await wishes.of(tx, make.did(0))) == (True, Standing())
        await wishes.forget(tx, make.did(0), before_rev=make_tid(NOW + 6))
        assert not await wishes.profile_known(tx, make.did(0))


async def test_unmapped_fields_are_counted_by_kind(store, make):
    async with store.write() as tx:
        await unmapped.note(tx, "b", {"x": "string"}, uri="at://1", now_us=NOW)
        await unmapped.note(tx, "a", {"x": "string", "y": "blob"}, uri="at://1", now_us=NOW)
        await unmapped.note(tx, "a", {"y": "blob"}, uri="at://2", now_us=NOW + 1)
        await unmapped.note(tx, "a", {"y": "string"}, uri="at://3", now_us=NOW + 2)
        found = [(one.collection, one.path, one.kind, one.seen, one.example_uri) for one in await unmapped.report(tx)]
    assert found == [
        ("a", "y", "blob", 2, "at://2"),
        ("a", "x", "string", 1, "at://1"),
        ("a", "y", "string", 1, "at://3"),
        ("b", "x", "string", 1, "at://1"),
    ]


async def test_unmapped_fields_are_bounded_for_each_collection(store, make):
    async with store.write() as tx:
        for number in range(0, 300, 10):
            fields = {f"x{one}": "string" for one in range(number, number + 10)}
            await unmapped.note(tx, "a", fields, uri="at://1", now_us=NOW)
        await unmapped.note(tx, "b", {"y": "string"}, uri="at://1", now_us=NOW)
        await unmapped.note(tx, "a", {"x1": "string"}, uri="at://2", now_us=NOW)
        found = await unmapped.report(tx)
    assert len(found) == unmapped.MAX_FIELDS + 1
    assert (found[0].path, found[0].seen) == ("x1", 2)  # what is known is still counted
