"""Feeds of one's own, asked for through a real PDS: its tokens, the viewer's own records, and what they say back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio

from core.nsids import FEED_PREFS
from core.types import AtUri
from feedgen.interactions import SEND_INTERACTIONS
from feedgen.methods import GET_FEED_SKELETON
from tests.network.artist import CREATED, Artist
from tests.network.following import Following, running
from tests.network.world import World, compose

# Words that nobody would take for one another: what sounds the same and is named alike would be one recording.
TITLES = {
    "dance-floor": ("Gravel", "Monday ferry", "Tin", "Quince", "Overpass"),
    "calm": ("Heron", "Pale bread", "Vault", "Jigsaw", "Kettle lake"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A service with ten tracks of two moods, each by an artist of its own and with a post."""

    world: World
    service: Following
    tracks: Mapping[str, tuple[AtUri, ...]]
    posts: Mapping[AtUri, AtUri]  # by track

    @property
    def audience(self) -> str:
        return f"{self.service.settings.service_did}#bsky_fg"

    async def ask(self, viewer: Artist | None, rkey: str = "for-you", **params: str) -> dict[str, Any]:
        """A page, with a token that the viewer's PDS makes for it."""
        headers = {} if viewer is None else {"Authorization": f"Bearer {await self.token(viewer, GET_FEED_SKELETON)}"}
        params = {"feed": self.service.feed_uri(rkey), "limit": "100"} | params
        answer = await self.service.client.get(f"/xrpc/{GET_FEED_SKELETON}", params=params, headers=headers)
        body: dict[str, Any] = answer.raise_for_status().json()
        return body

    async def shown(self, viewer: Artist | None, rkey: str = "for-you") -> list[str]:
        return [entry["post"] for entry in (await self.ask(viewer, rkey))["feed"]]

    async def token(self, viewer: Artist, method: str) -> str:
        audience = self.service.settings.service_did
        asked = {"aud": audience, "lxm": method}
        word = await viewer.pds.ask("com.atproto.server.getServiceAuth", by=viewer.account, **asked)
        return str(word["token"])

    async def tell(self, viewer: Artist, event: str, post: str) -> None:
        """As the app does it: through the PDS."""
        one = {"item": post, "event": f"app.bsky.feed.defs#{event}"}
        body = {"feed": self.service.feed_uri("for-you"), "interactions": [one]}
        assert await viewer.pds.act(SEND_INTERACTIONS, body, by=viewer.account, proxy=self.audience) == {}

    async def forget(self, viewer: Artist) -> int:
        method = f"{self.service.settings.authority}.forgetMe"
        told = await viewer.pds.act(method, {}, by=viewer.account, proxy=self.audience)
        return int(told["forgotten"])

    def posts_of(self, mood: str, *numbers: int) -> set[str]:
        chosen = self.tracks[mood]
        return {str(self.posts[chosen[number]]) for number in (numbers or range(len(chosen)))}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(world: World) -> AsyncIterator[Stage]:
    async with running(await world.join(world.pds, "personal", begin="live")) as service:
        tracks: dict[str, tuple[AtUri, ...]] = {}
        posts: dict[AtUri, AtUri] = {}
        for mood, titles in TITLES.items():
            found = []
            for number, title in enumerate(titles):
                artist = await world.sign_up(world.pds)
                track = await artist.track(compose(mood) * (0.9 - number / 50), title=title)
                posts[track] = await artist.post(track)
                found.append(track)
            tracks[mood] = tuple(found)
        stage = Stage(world, service, tracks, posts)
        await asyncio.gather(*(service.ended(track) for track in posts))
        everything = {str(post) for post in posts.values()}

        async def all_there() -> bool:
            return set(await stage.shown(None)) == everything

        await service.until(all_there)
        yield stage


async def test_P115_P118_whose_records_say_nothing_gets_everybodys_mix(stage: Stage) -> None:
    stranger = await stage.world.sign_up(stage.world.pds)
    everybody = await stage.shown(None)
    assert await stage.shown(stranger) == everybody
    assert set(everybody) == stage.posts_of("calm") | stage.posts_of("dance-floor")


async def test_likes_and_playlists_of_the_viewers_own_repository_make_the_feed(stage: Stage) -> None:
    viewer = await stage.world.sign_up(stage.world.pds)
    first, second, third = stage.tracks["dance-floor"][:3]
    await viewer.like(stage.posts[first], (await viewer.pds.get(stage.posts[first]))["cid"])
    subject = {"uri": str(second), "cid": (await viewer.pds.get(second))["cid"]}
    await viewer.pds.create(viewer.account, "fm.plyr.like", {"subject": subject, "createdAt": CREATED})
    items = [{"subject": {"uri": str(third), "cid": (await viewer.pds.get(third))["cid"]}}]
    playlist = {"name": "Mine", "listType": "playlist", "items": items, "createdAt": CREATED}
    await viewer.pds.create(viewer.account, "fm.plyr.list", playlist)
    knobs = {"explore": 0, "createdAt": CREATED}  # nothing is left to chance
    await viewer.pds.create(viewer.account, FEED_PREFS, knobs, rkey="self")
    body = await stage.ask(viewer)
    shown = [entry["post"] for entry in body["feed"]]
    assert not set(shown) & stage.posts_of("dance-floor", 0, 1, 2), "known already"
    assert set(shown) == stage.posts_of("dance-floor", 3, 4) | stage.posts_of("calm")
    assert set(shown[:4]) & stage.posts_of("dance-floor"), "near what they like comes first"
    assert all("|liked-similar|" in entry["feedContext"] for entry in body["feed"])
    # The same with pages of two.
    paged, cursor = list[str](), {}
    while True:
        page = await stage.ask(viewer, limit="2", **cursor)
        paged += [entry["post"] for entry in page["feed"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    assert paged == shown
    nearest = await stage.shown(viewer, "more-like")
    assert nearest[0] in stage.posts_of("dance-floor", 3, 4), "like the newest like"


async def test_P128_P129_less_and_forget_me_through_the_pds(stage: Stage) -> None:
    viewer, other = [await stage.world.sign_up(stage.world.pds) for _ in range(2)]
    for track in stage.tracks["calm"][:3]:
        await viewer.like(stage.posts[track], (await viewer.pds.get(stage.posts[track]))["cid"])
    shown = await stage.shown(viewer)
    await stage.tell(viewer, "interactionSeen", shown[0])
    await stage.tell(viewer, "requestLess", shown[0])
    assert shown[0] not in await stage.shown(viewer)
    assert shown[0] not in await stage.shown(viewer, "more-like")
    assert shown[0] in await stage.shown(other)
    assert await stage.forget(other) == 0
    assert shown[0] not in await stage.shown(viewer), "only their own"
    assert await stage.forget(viewer) == 1
    assert shown[0] in await stage.shown(viewer)


async def test_the_knobs_are_a_record_of_the_viewers_own(stage: Stage) -> None:
    viewer = await stage.world.sign_up(stage.world.pds)
    record = {"minSeconds": 600, "explore": 0, "createdAt": CREATED}
    knobs = await viewer.pds.create(viewer.account, FEED_PREFS, record, rkey="self")
    assert await stage.shown(viewer) == [], "twelve seconds are too short"
    await viewer.pds.delete(viewer.account, knobs)
    await stage.forget(viewer)  # or it would count for ten minutes more
    assert len(await stage.shown(viewer)) == 10


async def test_P122_P126_a_token_tells_once_and_only_by_whom_it_is_for(stage: Stage) -> None:
    viewer = await stage.world.sign_up(stage.world.pds)
    client = stage.service.client

    async def send(token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await client.post(f"/xrpc/{SEND_INTERACTIONS}", json={"interactions": []}, headers=headers)

    token = await stage.token(viewer, SEND_INTERACTIONS)
    assert (await send(token)).json() == {}
    again = await send(token)
    assert (again.status_code, again.json()["error"]) == (401, "BadJwt")
    wrong = await send(await stage.token(viewer, GET_FEED_SKELETON))
    assert (wrong.status_code, wrong.json()["error"]) == (401, "BadJwtLexiconMethod")
    forged = await send((await stage.token(viewer, SEND_INTERACTIONS))[:-6] + "AAAAAA")
    assert (forged.status_code, forged.json()["error"]) == (401, "BadJwtSignature")
