"""What becomes of accounts: names, takedowns, pauses, deletions. Labels and feeds follow, and come back (P151)."""

from __future__ import annotations

import pytest

from core.types import AtUri
from tests.network.artist import Artist
from tests.network.following import Following
from tests.network.world import Samples

ONCE = [("electronic", False)]


async def publish(service: Following, artist: Artist, techno: Samples) -> tuple[AtUri, AtUri]:
    """A track with its label and its post in the feed."""
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await service.ended(uri)
    await service.shows(post)
    return uri, post


async def test_p154_a_new_handle_changes_nothing(service: Following, artist: Artist, techno: Samples) -> None:
    uri, post = await publish(service, artist, techno)
    await artist.pds.rename(artist.account, artist.account.handle.replace("artist", "renamed"))
    second = await artist.track(techno, title="Under the new name")
    assert (await service.ended(second))["state"] == "ready"
    assert str(post) in await service.feed()
    assert [service.said(track) for track in (uri, second)] == [ONCE, ONCE]


@pytest.mark.parametrize("kind", ["takendown", "deactivated"])
async def test_p39_p151_an_account_that_goes_away_and_comes_back(
    service: Following, artist: Artist, techno: Samples, kind: str
) -> None:
    uri, post = await publish(service, artist, techno)
    pds, account = artist.pds, artist.account
    if kind == "takendown":
        await pds.take_down(account)
    else:
        await pds.deactivate(account)
    await service.hides(post)
    report = await service.report(uri)
    assert (report["account_active"], report["title"], report["posts"]) == (False, None, [])
    assert await service.labels(uri) == {"electronic": False}  # kept while merely away
    if kind == "takendown":
        await pds.take_down(account, undo=True)
    else:
        await pds.activate(account)
    await service.shows(post)
    report = await service.report(uri)
    assert (report["account_active"], report["state"], report["posts"]) == (True, "ready", [str(post)])
    # What it publishes from now on is followed as before.
    second = await artist.track(techno, title="Back again")
    assert (await service.ended(second))["state"] == "ready"
    assert [service.said(track) for track in (uri, second)] == [ONCE, ONCE]


async def test_a_track_that_arrives_while_its_account_goes(service: Following, artist: Artist, techno: Samples) -> None:
    """Record and takedown in one breath: nothing is said until the account is back."""
    uri = await artist.track(techno)
    await artist.pds.take_down(artist.account)
    report = await service.reports(uri, lambda report: not report["account_active"])
    assert report["title"] is None
    await artist.pds.take_down(artist.account, undo=True)
    assert (await service.ended(uri))["state"] == "ready"
    assert service.said(uri) == ONCE


async def test_p151_a_deleted_account_leaves_nothing(service: Following, artist: Artist, techno: Samples) -> None:
    uri, post = await publish(service, artist, techno)
    await artist.pds.delete_account(artist.account)
    await service.labelled(uri, {"electronic": True})
    await service.hides(post)
    report = await service.report(uri)
    assert not report["account_active"] if report["state"] else True
    assert not report.get("title")
    assert not report.get("posts")
    assert not report.get("analysis")
    assert service.said(uri) == [*ONCE, ("electronic", True)]
