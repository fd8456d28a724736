"""Feed records are written, changed and removed in a real repository, by the verbs and by the service itself."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import orjson
import pytest_asyncio

from core.types import AtUri, Nsid
from feedgen.publish import GENERATOR_COLLECTION
from tests.earmark.test_pictures import png
from tests.network.following import running
from tests.network.pds import PASSWORD
from tests.network.test_enrolment import Operator
from tests.network.world import Samples, World, compose


@pytest_asyncio.fixture(loop_scope="session")
async def operator(world: World) -> Operator:
    """Feeds of an account of their own, for a service that opens a feed at its first track."""
    account = await world.pds.create_account(f"feeds{secrets.token_hex(3)}.test")
    settings = await world.join(world.pds, f"publishing-{account.handle}", begin="live")
    feeds = settings.feeds.model_copy(update={"publisher_did": account.did})
    return Operator(world, account, settings.model_copy(update={"feeds": feeds}))


async def records(world: World, operator: Operator) -> dict[str, dict[str, Any]]:
    """By rkey, what the repository has."""
    listed = await world.pds.ask(
        "com.atproto.repo.listRecords", repo=operator.account.did, collection=GENERATOR_COLLECTION
    )
    return {record["uri"].rpartition("/")[2]: record["value"] for record in listed["records"]}


async def call(operator: Operator, *words: str) -> tuple[int, dict[str, Any]]:
    code, said, told = await operator.call("feeds", *words, "--json")
    assert said, told
    return code, orjson.loads(said)


async def test_p100_p101_p129_feeds_are_published_changed_and_removed(
    world: World, operator: Operator, techno: Samples, tmp_path: Path
) -> None:
    """Dark ones are not; what others wrote is left alone; the second time there is nothing to do."""
    theirs = {"did": "did:web:feeds.example.com", "displayName": "Theirs", "createdAt": "2026-11-20T10:00:00Z"}
    await world.pds.create(operator.account, GENERATOR_COLLECTION, theirs, rkey="calm")
    artist = await world.sign_up(world.pds)
    picture = tmp_path / "avatar.png"
    picture.write_bytes(png(100, 100))
    async with running(operator.settings) as service:
        track = await artist.track(techno)
        post = await artist.post(track)
        await service.ended(track)
        await service.shows(post)

        code, planned = await call(operator, "publish", "dance-floor", "--dry-run")
        assert (code, [one["action"] for one in planned["changes"]]) == (0, ["create"])
        assert await records(world, operator) == {"calm": theirs | {"$type": GENERATOR_COLLECTION}}

        code, done = await call(operator, "publish", "--yes", "--avatar", str(picture))
        found = await records(world, operator)
        assert code == 0
        assert "dance-floor" in found
        assert "heavy" in done["dark"]
        assert "heavy" not in found
        assert found["calm"]["displayName"] == "Theirs"
        record = found["dance-floor"]
        assert (record["did"], record["displayName"]) == (operator.settings.service_did, "Dance Floor")
        assert record["avatar"]["mimeType"] == "image/png"
        assert "acceptsInteractions" not in record
        assert found["for-you"]["acceptsInteractions"] is True

        again = await call(operator, "publish", "--yes")
        assert (again[0], again[1]["changes"]) == (0, [])
        refused = await call(operator, "publish", "heavy", "--yes")
        assert (refused[0], refused[1]["changes"]) == (1, [])

        uri = AtUri(operator.account.did, Nsid(GENERATOR_COLLECTION), "dance-floor")
        await world.pds.put(operator.account, uri, record | {"displayName": "Old name", "contentMode": "x.y.z#w"})
        await call(operator, "publish", "dance-floor", "--yes")
        assert (await records(world, operator))["dance-floor"] == record | {"contentMode": "x.y.z#w"}

    code, removed = await call(operator, "unpublish", "--all", "--yes")
    assert (code, removed["strangers"]) == (1, ["calm"])
    assert set(await records(world, operator)) == {"calm"}


async def test_a_feed_that_opens_is_published_by_itself(
    world: World, operator: Operator, techno: Samples, tmp_path: Path
) -> None:
    """Only with a password to do it with, and once: what is there is left, and what was taken away stays away."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    feeds = operator.settings.feeds.model_copy(update={"password_file": password})
    settings = operator.settings.model_copy(update={"feeds": feeds})
    artist = await world.sign_up(world.pds)
    async with running(settings.model_copy(update={"feeds": operator.settings.feeds})) as service:
        track = await artist.track(techno)
        post = await artist.post(track)
        await service.ended(track)
        await service.shows(post)
        assert await records(world, operator) == {}
    async with running(settings) as service:

        async def published() -> bool:
            return "dance-floor" in await records(world, operator)

        await service.until(published)
        assert "heavy" not in await records(world, operator)
        code, removed = await call(operator, "unpublish", "dance-floor", "--yes")
        assert (code, [change["action"] for change in removed["changes"]]) == (0, ["remove"])
        await world.pds.delete(operator.account, AtUri(operator.account.did, Nsid(GENERATOR_COLLECTION), "fresh"))
        left = set(await records(world, operator))
    async with running(settings.model_copy(update={"feeds": operator.settings.feeds})) as service:
        another = await artist.track(compose("calm"))
        shown = await artist.post(another)
        await service.ended(another)
        await service.shows(shown, "calm")
    async with running(settings) as service:

        async def published_more() -> bool:
            return "calm" in await records(world, operator)

        await service.until(published_more)
        assert not {"dance-floor", "fresh"} & set(await records(world, operator)), "taken away, by whatever means"
        await call(operator, "publish", "fresh", "--yes")
        assert left | {"calm", "fresh"} <= set(await records(world, operator))
