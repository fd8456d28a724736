"""What artists say in their own repositories about being labelled and shown counts for as long as they say it."""

from __future__ import annotations

import pytest

from core.types import AtUri, parse_nsid
from tests.network.artist import CREATED, Artist
from tests.network.following import Following, running
from tests.network.pds import Record
from tests.network.world import Samples, World

PROFILE = "app.bsky.actor.profile"
ONCE = [("electronic", False)]


def profile(*values: str) -> Record:
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": value} for value in values]}
    return {"$type": PROFILE, "displayName": "An artist", "labels": labels}


def own(artist: Artist, collection: str) -> AtUri:
    return AtUri(artist.account.did, parse_nsid(collection), "self")


async def wish(artist: Artist, kind: str, service: Following) -> AtUri:
    """Says it; returns the record."""
    uri = own(artist, PROFILE)
    match kind:
        case "profile":
            await artist.pds.put(artist.account, uri, profile("no-auto-label"))
            return uri
        case "block":
            block = {"subject": service.settings.labeler.did, "createdAt": CREATED}
            return await artist.pds.create(artist.account, "app.bsky.graph.block", block)
        case _:
            return await artist.pds.create(artist.account, "example.earmark.optout", {}, rkey="self")


@pytest.mark.parametrize("kind", ["profile", "block", "optout"])
async def test_who_does_not_want_to_be_labelled(service: Following, artist: Artist, techno: Samples, kind: str) -> None:
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await service.ended(uri)
    await service.shows(post)
    said = await wish(artist, kind, service)
    await service.labelled(uri, {"electronic": True})
    await service.hides(post)
    report = await service.report(uri)
    assert (report["state"], report["reason"], report["analysis"]) == ("refused", "opted_out", None)
    later = await artist.track(techno * 0.99, "Later")
    await service.reports(later, lambda report: report["reason"] == "opted_out")
    assert service.said(later) == []
    await artist.pds.delete(artist.account, said)  # and what was taken back comes again, by a walk
    await service.labelled(uri, {"electronic": False})
    assert (await service.ended(later))["state"] == "ready"
    await service.shows(post)


async def test_a_profile_that_was_there_first_is_asked_for(world: World, techno: Samples) -> None:
    """The stream begins after it: the artist's profile is fetched before anything is said."""
    async with world.open_pds("earlier") as pds:
        artist, other = await world.sign_up(pds), await world.sign_up(pds)
        await pds.put(artist.account, own(artist, PROFILE), profile("no-auto-label"))
        settings = await world.join(pds, "from-now-on", begin="live")
        async with running(settings) as service:
            marker = await other.track(techno, "Marker")
            await service.ended(marker)
            uri = await artist.track(techno * 0.99)
            await service.reports(uri, lambda report: report["reason"] == "opted_out")
            assert service.said(uri) == []


async def test_who_wants_to_be_seen_by_signed_in_people_only(
    service: Following, artist: Artist, techno: Samples
) -> None:
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await service.ended(uri)
    await service.shows(post)
    await artist.pds.put(artist.account, own(artist, PROFILE), profile("!no-unauthenticated"))
    await service.reports(uri, lambda report: report["title"] is None)
    assert str(post) in await service.feed()
    assert service.said(uri) == ONCE
    await artist.pds.put(artist.account, own(artist, PROFILE), profile())
    await service.reports(uri, lambda report: (report["title"] or "").startswith("A title"))
