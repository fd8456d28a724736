"""What artists do with records: each change reaches jobs, labels, links and feeds, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.audio import write
from core.types import AtUri
from tests.network.artist import POST, TRACK, Artist, blob_cid
from tests.network.following import SKELETON, Following, running
from tests.network.world import Samples, World, compose


async def test_create(service: Following, world: World, artist: Artist, techno: Samples) -> None:
    uri = await artist.track(techno)
    post = await artist.post(uri)
    report = await service.ended(uri)
    assert (report["state"], report["job"]["state"], report["verdict"]["labels"]) == ("ready", "done", ["electronic"])
    await service.shows(post)
    assert (await service.report(uri))["posts"] == [str(post)]
    assert service.said(uri) == [("electronic", False)]
    # A reader's own PDS asks us, with its service token, as the AppView does.
    reader = await world.sign_up(world.pds)
    page = await world.pds.ask(
        SKELETON,
        by=reader.account,
        proxy=f"{service.settings.labeler.did}#bsky_fg",
        feed=service.feed_uri("fresh"),
        limit="100",
    )
    assert str(post) in [entry["post"] for entry in page["feed"]]


async def test_new_words_do_not_fetch_the_audio_again(service: Following, artist: Artist, techno: Samples) -> None:
    record = await artist.record(techno)
    uri = await artist.pds.create(artist.account, TRACK, record)
    await service.ended(uri)
    with artist.pds.without_blob(artist.account, blob_cid(record)):
        await artist.change(uri, title="A better title")
        await service.reports(uri, lambda report: report["title"] == "A better title" and report["state"] == "ready")
    assert service.said(uri) == [("electronic", False)]


async def test_new_audio_is_heard_anew(world: World, artist: Artist, techno: Samples) -> None:
    """By a service that knows nothing else: among many tracks a mood feed takes the best 15 % only."""
    async with running(await world.join(world.pds, "new-audio", begin="live")) as service:
        uri = await artist.track(techno)
        post = await artist.post(uri)
        await service.ended(uri)
        await service.shows(post, "dance-floor")
        await artist.change(uri, **await artist.record(compose("calm"), title="Calm now"))
        await service.hides(post, "dance-floor")
        report = await service.ended(uri)
        assert (report["title"], report["state"]) == ("Calm now", "ready")
        live = {row["val"] for row in report["labels"] if not row["neg"]}
        assert live == set(report["verdict"]["labels"])
        await service.shows(post, "calm")


@pytest.mark.parametrize(
    ("kind", "mime"),
    [("mp3", "audio/mpeg"), ("m4a", "video/mp4"), ("ogg", "audio/ogg; codecs=opus"), ("flac", "audio/flac")],
)
async def test_p184_audio_of_every_type_that_the_pds_tells_apart(
    service: Following, artist: Artist, tmp_path: Path, kind: str, mime: str
) -> None:
    record = await artist.record_of(write(tmp_path / f"music.{kind}", 12).read_bytes(), kind)
    assert record["audioBlob"]["mimeType"] == mime
    report = await service.ended(await artist.pds.create(artist.account, TRACK, record))
    assert report["job"]["state"] == "done"
    assert report["analysis"]["duration_seconds"] == pytest.approx(12.0, abs=0.2)


async def test_p155_delete(service: Following, artist: Artist, techno: Samples) -> None:
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await service.ended(uri)
    await service.shows(post)
    await artist.pds.delete(artist.account, uri)
    await service.labelled(uri, {"electronic": True})
    await service.hides(post)
    report = await service.report(uri)
    assert (report["state"], report["title"], report["posts"]) == ("withdrawn", "", [])
    assert service.said(uri) == [("electronic", False), ("electronic", True)]


async def test_deleted_posts_give_way_to_the_next(service: Following, artist: Artist, techno: Samples) -> None:
    uri = await artist.track(techno)
    first, second = await artist.post(uri), await artist.post(uri, way=3)
    await service.ended(uri)

    async def shown() -> set[str]:
        return {str(first), str(second)} & set(await service.feed())

    (best,) = await service.until(shown)
    other = second if best == str(first) else first
    await artist.pds.delete(artist.account, AtUri.parse(best))
    await service.shows(other)
    assert best not in await service.feed()
    await artist.pds.delete(artist.account, other)
    await service.hides(other)
    assert (await service.report(uri))["posts"] == []
    assert service.said(uri) == [("electronic", False)]


async def test_the_same_record_again_is_nothing_new(service: Following, artist: Artist, techno: Samples) -> None:
    uri = await artist.track(techno)
    before = await service.ended(uri)
    await artist.change(uri)
    marker = await artist.track(techno, title="After it")
    await service.ended(marker)
    assert await service.report(uri) == before
    assert service.said(uri) == [("electronic", False)]


async def test_apply_writes(service: Following, artist: Artist, techno: Samples) -> None:
    """One commit with several operations, of several collections."""
    record = await artist.record(techno)

    def create(rkey: str, collection: str = TRACK, **value: object) -> dict[str, object]:
        return {"$type": "create", "collection": collection, "rkey": rkey, "value": {"$type": collection, **value}}

    results = await artist.pds.apply_writes(
        artist.account,
        [
            create("3mabcabcabc2a", **record | {"title": "One"}),
            create("3mabcabcabc2b", **record | {"title": "Two"}),
            create("3mabcabcabc2c", "app.bsky.feed.like", subject=_anything(artist), createdAt=record["createdAt"]),
            create("3mabcabcabc2d", POST, text="no music here", createdAt=record["createdAt"]),
        ],
    )
    one, two = (AtUri.parse(result["uri"]) for result in results[:2])
    for uri, title in ((one, "One"), (two, "Two")):
        report = await service.ended(uri)
        assert (report["title"], report["state"], service.said(uri)) == (title, "ready", [("electronic", False)])
    await artist.pds.apply_writes(
        artist.account,
        [
            {"$type": "update", "collection": TRACK, "rkey": one.rkey, "value": record | {"title": "Renamed"}},
            {"$type": "delete", "collection": TRACK, "rkey": two.rkey},
            create("3mabcabcabc2e", **record | {"title": "Three"}),
        ],
    )
    three = AtUri.parse(f"at://{artist.account.did}/{TRACK}/3mabcabcabc2e")
    await service.ended(three)
    assert (await service.report(one))["title"] == "Renamed"
    assert (await service.report(two))["state"] == "withdrawn"
    await service.labelled(two, {"electronic": True})
    assert [service.said(uri) for uri in (one, three)] == [[("electronic", False)]] * 2


def _anything(artist: Artist) -> dict[str, str]:
    cid = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
    return {"uri": f"at://{artist.account.did}/{POST}/3mabcabcabc2z", "cid": cid}
