"""Our labels as the reader of another project sees them: the client library of Bluesky, with our own declaration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from core.clock import SystemClock
from core.taxonomy import Taxonomy
from core.types import AtUri
from earmark.verifying import Verifying
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.safehttp import GuardedHttp
from labeler.vocabulary import NSID, RKEY, build_declaration, defined_values, emittable_values
from tests.network.artist import TRACK, Artist
from tests.network.following import Following, running
from tests.network.pds import PASSWORD, Account
from tests.network.world import Samples, World, compose

STYLES = ("electronic-techno", "electronic-ambient")


@dataclass(frozen=True, slots=True)
class Stage:
    """A service that labels posts too, its declared labeler, an announcer and an artist."""

    world: World
    service: Following
    labeler: Account
    bot: Artist
    artist: Artist

    async def read(
        self, *posts: AtUri, reader: str = "", author: str = "", also: tuple[str, ...] = STYLES, **settings: str
    ) -> Any:
        """What the library makes of it. `settings`: the reader's choices, _ for -. `author`: as if it were his post."""
        question = {
            "service": self.service.url,
            "pds": self.world.pds.url,
            "labeler": self.labeler.did,
            "handle": self.labeler.handle,
            "posts": [{"uri": str(post), "author": author or post.did} for post in posts],
            "reader": reader or self.artist.account.did,
            "settings": {name.replace("_", "-"): chosen for name, chosen in settings.items()},
            "also": also,
        }
        installed = self.world.installed
        script = Path(__file__).with_name("reader.mjs")
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            str(installed.node), str(script), str(installed.folder), stdin=pipe, stdout=pipe, stderr=pipe
        )
        said, complaint = await asyncio.wait_for(child.communicate(json.dumps(question).encode()), 60)
        assert child.returncode == 0, complaint.decode()
        return json.loads(said)


@asynccontextmanager
async def staged(world: World, name: str, mode: str) -> AsyncIterator[Stage]:
    """Followed from now on, so that nobody else's tracks are heard."""
    settings = await world.join(world.pds, name, begin="live")
    bot, artist = await world.sign_up(world.pds), await world.sign_up(world.pds)
    labels = settings.labeler.model_copy(update={"mirror_to_posts": mode})
    announcer = settings.announcer.model_copy(update={"did": bot.account.did})
    settings = settings.model_copy(update={"labeler": labels, "announcer": announcer})
    body = {"identifier": settings.labeler.did, "password": PASSWORD}
    session = await world.pds.act("com.atproto.server.createSession", body)
    labeler = Account(session["did"], session["handle"], "", session["accessJwt"])
    async with running(settings) as service:
        yield Stage(world, service, labeler, bot, artist)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(world: World) -> AsyncIterator[Stage]:
    async with staged(world, "consumers", "own") as stage:
        record = build_declaration(Taxonomy.load(), music=(TRACK,), created_us=SystemClock().now_us())
        body = {"repo": stage.labeler.did, "collection": NSID, "rkey": RKEY, "record": record, "validate": True}
        put = await world.pds.act("com.atproto.repo.putRecord", body, by=stage.labeler)
        assert put["validationStatus"] == "valid"
        yield stage


def badge(*labels: str) -> Mapping[str, list[str]]:
    return {"badges": list(labels), "alerts": [], "blurred": [], "hidden": []}


async def test_p24_p25_p46_a_badge_is_shown_where_it_should_be(stage: Stage, techno: Samples) -> None:
    """On the posts that we label; for the 15 parents unless the reader says otherwise, for styles if he asks for it."""
    fan = await stage.world.sign_up(stage.world.pds)
    track = await stage.artist.track(techno)
    own, announced, others = await stage.artist.post(track), await stage.bot.post(track), await fan.post(track)
    await stage.service.ended(track)
    for post in (own, announced):
        await stage.service.labelled(post, {"electronic": False})

    said = await stage.read(own, announced, others, electronic_techno="warn")
    taxonomy = Taxonomy.load()
    assert said["definitions"] == len(defined_values(taxonomy)) == 61
    assert said["values"] == len(emittable_values(taxonomy))
    assert {name for name, label in said["labels"].items() if not label["neg"]} == {
        f"{uri} electronic" for uri in (track, own, announced)
    }
    for post in (own, announced):
        seen = said["posts"][str(post)]
        assert seen["usual"]["list"] == seen["usual"]["view"] == badge("electronic")
        assert seen["usual"]["profile"] == seen["usual"]["media"] == badge()
        assert seen["styles"]["list"] == seen["styles"]["view"] == badge()
        assert seen["stylesChosen"]["list"] == seen["stylesChosen"]["view"] == badge("electronic-techno")
    assert said["posts"][str(others)]["usual"]["list"] == badge()

    for choice, expected in (("ignore", badge()), ("hide", badge("electronic") | {"hidden": ["electronic"]})):
        seen = (await stage.read(own, reader=fan.account.did, electronic=choice))["posts"][str(own)]
        assert seen["chosen"]["list"] == expected
    mine = (await stage.read(own, electronic="hide"))["posts"][str(own)]
    assert mine["chosen"]["list"] == badge("electronic"), "nobody's own posts are hidden from them"


async def test_p31_a_badge_goes_with_the_track(stage: Stage, techno: Samples) -> None:
    track = await stage.artist.track(techno)
    own = await stage.artist.post(track)
    await stage.service.ended(track)
    await stage.service.labelled(own, {"electronic": False})
    await stage.artist.pds.delete(stage.artist.account, track)
    await stage.service.labelled(own, {"electronic": True})
    said = await stage.read(own)
    assert said["labels"][f"{own} electronic"]["neg"]
    assert said["posts"][str(own)]["usual"]["list"] == badge()


async def test_p19_p22_values_without_a_definition_are_ignored_without_an_error(stage: Stage, techno: Samples) -> None:
    taxonomy = Taxonomy.load()
    undefined = sorted({*emittable_values(taxonomy)} - {*defined_values(taxonomy)})[:3]
    track = await stage.artist.track(techno)
    own = await stage.artist.post(track)
    await stage.service.ended(track)
    await stage.service.labelled(own, {"electronic": False})
    chosen = {value.replace("-", "_"): "warn" for value in undefined}
    seen = (await stage.read(own, also=tuple(undefined), **chosen))["posts"][str(own)]
    assert seen["stylesChosen"]["list"] == badge()


async def test_p27_the_labelers_own_posts_would_show_nothing_and_get_nothing(
    world: World, stage: Stage, techno: Samples
) -> None:
    """Readers take its labels there for self-labels and drop them."""
    labeler = Artist(world.pds, stage.labeler)
    track = await labeler.track(techno)
    own = await labeler.post(track)
    announced = await stage.bot.post(track)
    await stage.service.ended(track)
    await stage.service.labelled(announced, {"electronic": False})
    assert await stage.service.labels(own) == {}
    assert (await stage.read(announced))["posts"][str(announced)]["usual"]["list"] == badge("electronic")
    as_ours = (await stage.read(announced, author=stage.labeler.did))["posts"][str(announced)]
    assert as_ours["usual"]["list"] == badge()


async def test_no_strict_reader_stumbles_over_what_a_real_network_made_us_say(stage: Stage) -> None:
    """P1-P16, P31-P37, P55-P59, P63-P73, from the real directory's DID document to the last frame."""
    track = await stage.artist.track(compose("calm"))
    await stage.service.ended(track)
    clock, guard = SystemClock(), Guard(allow_loopback=True)
    http = GuardedHttp(guard, clock=clock, user_agent="test")
    try:
        directory = DidDirectory(http, clock=clock, plc_url=stage.world.plc_url, allow_loopback=True)
        verifying = Verifying(http, directory, guard, clock=clock, user_agent="test")
        outcome = await verifying.verify(stage.labeler.did, limit=10_000, idle_seconds=2.0)
    finally:
        await http.close()
    assert outcome.faults == []
    assert outcome.labels == outcome.newest == len(stage.service.heard)
    assert outcome.compared > 0
