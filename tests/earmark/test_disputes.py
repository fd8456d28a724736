"""Reports against the whole service: what an artist says counts at once, what others say waits (POSTS.md section 7)."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from core.clock import SystemClock
from core.serviceauth import mint
from core.types import AtUri
from earmark.control import call
from earmark.demo import DemoAccount
from earmark.disputing import ROUTE
from labeler.reports import NSID
from store import Store, actions
from tests.earmark.test_service import Live, opened, techno, wav

__all__ = ["techno"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")
OTHER = "com.atproto.moderation.defs#reasonOther"
APPEAL = "com.atproto.moderation.defs#reasonAppeal"
SECONDS = 30.0
Samples = np.ndarray[Any, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    async with opened(tmp_path_factory.mktemp("disputes")) as live:
        yield live


@pytest.fixture
def artist(live: Live, request: pytest.FixtureRequest) -> DemoAccount:
    """Somebody new; `live.track` publishes for them."""
    live.artist = live.network.create_account(f"a{abs(hash(request.node.name)) % 10**9}.test")
    return live.artist


async def report(
    live: Live, by: DemoAccount, uri: AtUri, words: str = "", *, reason: str = OTHER, cid: str = "bafyrecord"
) -> httpx.Response:
    """What a PDS sends for its user."""
    did = live.service.labelling.src
    token = mint(by.key, iss=by.did, aud=f"{did}#atproto_labeler", lxm=NSID, now_us=SystemClock().now_us())
    subject = {"$type": "com.atproto.repo.strongRef", "uri": str(uri), "cid": cid}
    body = {"reasonType": reason, "subject": subject} | ({"reason": words} if words else {})
    return await live.client.post(f"/xrpc/{NSID}", json=body, headers={"Authorization": f"Bearer {token}"})


async def until_labels(live: Live, uri: AtUri, expected: dict[str, bool], seconds: float = SECONDS) -> float:
    """Waits for the labels as they are served; how long it took."""
    began = time.monotonic()

    async def there() -> bool:
        return await live.labels(uri) == expected

    await live.until(there, seconds)
    return time.monotonic() - began


async def heard(live: Live, samples: Samples, **fields: Any) -> AtUri:
    """A track with the label `electronic`."""
    uri = live.track(wav(samples), **fields)
    assert (await live.ended(uri))["verdict"]["labels"] == ["electronic"]
    return uri


def kept(live: Live, artist: DemoAccount) -> tuple[int, int]:
    """How many analyses of audio that an account uploaded there are, and vectors of its tracks."""
    connection = sqlite3.connect(f"file:{live.service.settings.database}?mode=ro", uri=True)
    try:
        keys = [key for (key,) in connection.execute("SELECT audio_key FROM analysis") if key in artist.blobs]
        query = "SELECT count(*) FROM vector JOIN track USING (track_id) WHERE did = ? AND bytes IS NOT NULL"
        [vectors] = connection.execute(query, (artist.did,)).fetchone()
    finally:
        connection.close()
    return len(keys), vectors


async def asked(live: Live, number: int, **decision: Any) -> list[dict[str, Any]]:
    """What an operator's verb makes of a dispute."""
    params = {"dispute_id": number, "by": "operator", "reason": "listened to it", **decision}
    return await asyncio.to_thread(lambda: list(call(live.service.settings, ROUTE, params)))


async def test_an_artists_word_takes_the_label_away_at_once_and_survives_a_new_analysis(
    live: Live, artist: DemoAccount, techno: Samples
) -> None:
    uri = await heard(live, techno * 0.99)
    answer = await report(live, artist, uri, "Wrong genre: this is jazz.", reason=APPEAL)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["reportedBy"], body["reasonType"], body["subject"]["uri"]) == (artist.did, APPEAL, str(uri))
    assert isinstance(body["id"], int)
    took = await until_labels(live, uri, {"electronic": True, "jazz": False})
    sys.stdout.write(f"seconds_from_report_to_negation {took:.3f}\n")
    record = dict(artist.repo.records[f"{uri.collection}/{uri.rkey}"].value)
    blob = live.network.upload_blob(artist, wav(techno * 0.985), "audio/wav")
    live.network.update_record(artist, uri.collection, uri.rkey, record | {"audioBlob": blob})  # heard again

    async def heard_again() -> bool:
        return (await live.report(uri))["updated"] > before and (await live.report(uri))["state"] == "ready"

    before = (await live.report(uri))["updated"]
    await live.until(heard_again)
    assert await live.labels(uri) == {"electronic": True, "jazz": False}


async def test_a_report_without_words_hides_what_is_live(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.98)
    assert (await report(live, artist, uri)).status_code == 200
    await until_labels(live, uri, {"electronic": True})
    assert (await live.report(uri))["state"] == "undecided"


async def test_what_others_say_waits_for_an_operator(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.97)
    listener = live.network.create_account("listener.test")
    answer = await report(live, listener, uri, "This is jazz, not electronic")
    assert answer.status_code == 200
    number = answer.json()["id"]
    again = await report(live, listener, uri, "This is jazz, not electronic")
    assert (again.json()["id"], again.json()["createdAt"]) == (number, answer.json()["createdAt"])  # P96
    assert await live.labels(uri) == {"electronic": False}
    [said] = await asked(live, number, accept=True)
    assert (said["state"], said["denied"], said["stated"]) == ("accepted", ["electronic"], ["jazz"])
    await until_labels(live, uri, {"electronic": True, "jazz": False})
    [said] = await asked(live, number, accept=False)  # an operator may change their mind
    await until_labels(live, uri, {"electronic": False, "jazz": True})


async def test_an_operator_who_rejects_brings_the_labels_back(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.96)
    number = (await report(live, artist, uri, "no electronic in here")).json()["id"]
    await until_labels(live, uri, {"electronic": True})
    [said] = await asked(live, number, accept=False)
    assert said["labels"] == ["electronic"]
    await until_labels(live, uri, {"electronic": False})


async def test_P95_appeals_come_from_the_account_itself(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.95)
    stranger = live.network.create_account("stranger.test")
    answer = await report(live, stranger, uri, "appeal", reason=APPEAL)
    assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")


async def test_a_report_on_the_post_that_stands_for_a_track(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.94)
    post = live.post(uri)

    async def linked() -> bool:
        return str(post) in (await live.report(uri))["posts"]

    await live.until(linked)
    assert (await report(live, artist, post, "this is jazz")).status_code == 200
    await until_labels(live, uri, {"electronic": True, "jazz": False})


async def test_opting_out_and_in_again_by_report(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.93)
    other = await heard(live, techno * 0.92, title="Another")
    analyses, vectors = kept(live, artist)
    assert (analyses, vectors > 0) == (2, True)
    assert (await report(live, artist, uri, "Opt out, please.")).status_code == 200
    took = max([await until_labels(live, one, {"electronic": True}) for one in (uri, other)])
    sys.stdout.write(f"seconds_from_opt_out_to_negation {took:.3f}\n")
    told = await live.report(uri)
    assert (told["state"], told["reason"], told["title"], told["analysis"]) == ("refused", "opted_out", None, None)
    later = live.track(wav(techno * 0.91), title="Later")

    async def turned_away() -> bool:
        return (await live.report(later)).get("reason") == "opted_out"

    await live.until(turned_away)
    assert await live.labels(later) == {}
    wish = {"dids": [artist.did]}
    [*_, walked] = await asyncio.to_thread(lambda: list(call(live.service.settings, "backfill", wish)))
    assert walked["done"] == 1
    for one in (uri, other, later):  # a walk finds the records, and they are left alone
        assert (await live.report(one))["reason"] == "opted_out"
        assert not await live.labels(one) or await live.labels(one) == {"electronic": True}
    assert kept(live, artist) == (0, 0)
    assert (await report(live, artist, later, "opt in")).status_code == 200
    await until_labels(live, uri, {"electronic": False}, seconds=100.0)  # by a walk through the repository
    await until_labels(live, later, {"electronic": False}, seconds=100.0)


async def test_opting_out_of_feeds_leaves_the_labels(live: Live, artist: DemoAccount, techno: Samples) -> None:
    uri = await heard(live, techno * 0.9, title="One of a kind")  # what sounds alike under one title is shown once
    post = str(live.post(uri))

    async def shown() -> bool:
        return post in await live.feed()

    async def hidden() -> bool:
        return post not in await live.feed()

    await live.until(shown)
    assert (await report(live, artist, uri, "opt out of feeds")).status_code == 200
    await live.until(hidden)
    assert await live.labels(uri) == {"electronic": False}
    assert (await report(live, artist, uri, "opt in")).status_code == 200
    await live.until(shown)


async def test_an_opt_out_may_be_said_on_any_record_of_ones_own(live: Live) -> None:
    somebody = live.network.create_account("unheard.test")
    post = AtUri.parse(f"at://{somebody.did}/app.bsky.feed.post/3kaaaaaaaaaaa")
    assert (await report(live, somebody, post, "opt out")).status_code == 200
    live.artist = somebody
    stranger = live.network.create_account("meddler.test")
    answer = await report(live, stranger, post, "opt out")
    assert (answer.status_code, answer.json()["error"]) == (400, "UnknownTrack")


async def test_the_public_log_of_changes_names_no_one_and_quotes_nobody(
    live: Live, artist: DemoAccount, techno: Samples
) -> None:
    uri = await heard(live, techno * 0.89)
    listener = live.network.create_account("secretive.test")
    number = (await report(live, listener, uri, "my secret words about folk")).json()["id"]
    await asked(live, number, accept=True)
    changes = (await live.client.get("/api/changes", params={"limit": "1"})).json()
    [newest] = changes["changes"]
    assert (newest["verb"], newest["uri"], newest["by"]) == ("dispute.accept", str(uri), "operator")
    assert newest["detail"]["denied"] == ["electronic"]
    following = (await live.client.get("/api/changes", params={"cursor": changes["cursor"]})).json()
    assert all(entry["id"] < newest["id"] for entry in following["changes"])
    page = (await live.client.get("/changes")).text
    for text in (str(changes), str(following), page):
        assert listener.did not in text
        assert "secret" not in text
        assert "listened to it" not in text
    store = await Store.open_to_read(live.service.settings.database)
    async with store.read() as reader:
        steps = await actions.of(reader, str(uri))
    await store.close()
    assert [(step.verb, step.actor, step.reason) for step in steps] == [
        ("dispute.accept", "operator", "listened to it")
    ]


async def test_times_and_hours_are_kept(live: Live, tmp_path: Path) -> None:
    """P96: so many reports in an hour and no more."""
    eager, other = live.network.create_account("eager.test"), live.network.create_account("target.test")
    live.artist = other
    uri = live.track(b"no audio")
    await live.ended(uri)
    statuses = [(await report(live, eager, uri, f"number {number}")).status_code for number in range(21)]
    assert statuses == [200] * 20 + [429]
    assert (await report(live, eager, AtUri(eager.did, uri.collection, "self"), "opt out")).status_code == 200
