"""Artists' rights through a real PDS: reports go out with `atproto-proxy`, as apps send them (P93, P97)."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from core.types import AtUri
from tests.network.artist import Artist
from tests.network.following import Following, running
from tests.network.pds import Record
from tests.network.world import Samples, World

CREATE_REPORT = "com.atproto.moderation.createReport"
OTHER = "com.atproto.moderation.defs#reasonOther"
APPEAL = "tools.ozone.report.defs#reasonAppeal"
SECONDS = 10.0  # "at once", with room for a busy machine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(world: World) -> AsyncIterator[Following]:
    """One of its own: what it is told here no other can read off the network."""
    async with running(await world.join(world.pds, "disputes", begin="live")) as following:
        yield following


async def report(by: Artist, service: Following, uri: AtUri, words: str, reason: str = OTHER) -> Record:
    subject = {"$type": "com.atproto.repo.strongRef", "uri": str(uri), "cid": (await by.pds.get(uri))["cid"]}
    body = {"reasonType": reason, "reason": words, "subject": subject}
    return await by.pds.act(CREATE_REPORT, body, by=by.account, proxy=f"{service.settings.labeler.did}#atproto_labeler")


async def until(service: Following, uri: AtUri, labels: dict[str, bool], began: float) -> float:
    await service.labelled(uri, labels)
    return time.monotonic() - began


@pytest.mark.parametrize("reason", [OTHER, APPEAL])
async def test_an_artists_report_takes_a_label_away_within_seconds(
    service: Following, artist: Artist, techno: Samples, reason: str
) -> None:
    uri = await artist.track(techno)
    await service.labelled(uri, {"electronic": False})
    began = time.monotonic()
    answer = await report(artist, service, uri, "Wrong, this is jazz", reason)
    assert (answer["reportedBy"], answer["reasonType"], answer["subject"]["uri"]) == (
        artist.account.did,
        reason,
        str(uri),
    )
    took = await until(service, uri, {"electronic": True, "jazz": False}, began)
    sys.stdout.write(f"seconds_from_report_to_negation {took:.3f}\n")
    assert took < SECONDS

    async def streamed() -> bool:
        return service.said(uri) == [("electronic", False), ("electronic", True), ("jazz", False)]

    await service.until(streamed)


async def test_what_somebody_else_reports_waits(
    service: Following, artist: Artist, world: World, techno: Samples
) -> None:
    uri = await artist.track(techno)
    await service.labelled(uri, {"electronic": False})
    listener = await world.sign_up(world.pds)
    first = await report(listener, service, uri, "this is jazz")
    assert await report(listener, service, uri, "this is jazz") == first  # P96
    assert service.said(uri) == [("electronic", False)]
    with pytest.raises(AssertionError, match="403"):
        await report(listener, service, uri, "an appeal", APPEAL)


async def test_opting_out_by_report_holds_for_the_account_until_it_opts_in(
    service: Following, artist: Artist, techno: Samples
) -> None:
    uri, other = await artist.track(techno), await artist.track(techno * 0.999, "Another")
    for one in (uri, other):
        await service.labelled(one, {"electronic": False})
    began = time.monotonic()
    await report(artist, service, uri, "opt out")
    took = max([await until(service, one, {"electronic": True}, began) for one in (uri, other)])
    sys.stdout.write(f"seconds_from_opt_out_to_negation {took:.3f}\n")
    assert took < SECONDS
    later = await artist.track(techno * 0.998, "Later")
    await service.reports(later, lambda told: told["reason"] == "opted_out")
    assert service.said(later) == []
    await report(artist, service, uri, "opt in")
    for one in (uri, other, later):
        await service.labelled(one, {"electronic": False})


async def test_a_report_that_is_not_taken_says_why(service: Following, artist: Artist, techno: Samples) -> None:
    post = await artist.pds.create(
        artist.account, "app.bsky.feed.post", {"text": "Hello", "createdAt": "2026-11-20T10:00:00Z"}
    )
    with pytest.raises(AssertionError, match="UnknownTrack"):
        await report(artist, service, post, "wrong genre")
    with pytest.raises(AssertionError, match="InvalidRequest"):
        await report(artist, service, post, "spam", "com.atproto.moderation.defs#reasonSpam")
