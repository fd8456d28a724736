"""Our own methods over real sockets: what they tell, to whom, and that every answer fits its lexicon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from core import sections
from core.analysis import Analysis, Genre, Ruling, Space, Tag, Verdict, VerdictStatus, generation_of
from core.clock import SystemClock
from core.config import Settings
from core.dagcbor import RAW, cid_of
from core.errors import Misconfigured, UnknownDid
from core.keys import SigningKey
from core.label import Label
from core.link import Link, LinkRule
from core.log import set_up
from core.metrics import Metrics
from core.ports import Identity
from core.serviceauth import mint
from core.taxonomy import Taxonomy
from core.types import Account, AtUri, BlobRef, Cid, Did, Tid, Track, TrackState, Visibility, make_tid
from earmark.actor_report import ActorReports
from earmark.labelling import Labelling
from earmark.lexicon import lexicon_page, load_lexicons
from earmark.limits import Limits
from earmark.own_methods import MAX_URIS, OwnMethods
from earmark.web import Web
from labeler.certificate import verify_certificate
from store import (
    Store,
    accounts,
    actions,
    analyses,
    announcements,
    disputes,
    feedback,
    generations,
    labels,
    links,
    rulings,
    signals,
    tracks,
    wishes,
)
from store.actions import ActorKind
from store.announcements import Announcement, AnnouncementState, Said
from store.disputes import DisputeState, NewDispute
from store.signals import Signal, SignalKind
from store.wishes import Scope, Wish, WishKind
from tests.lexicons import check_value, find

NOW_US = 1_800_000_000_000_000
AUTHORITY = "com.example.music"
LABELER = Did("did:plc:labeler22222222222222222")
ARTIST, OTHER = Did(f"did:plc:{'a' * 24}"), Did(f"did:plc:{'b' * 24}")
ANNOUNCED = f"at://did:plc:{'c' * 24}/app.bsky.feed.post/3kaaaaaaaaaa2"
KEYS = {ARTIST: SigningKey(bytes(range(1, 33))), OTHER: SigningKey(bytes(range(2, 34)))}
VIEWER_SECRET = b"s" * 32
CERTIFICATE_KEY = SigningKey(bytes(range(3, 35)))
PACKS = {"musicnn": "ab" * 32}
REV = make_tid(1_700_000_000_000_000)
AUDIO = cid_of(b"audio", RAW)


def uri(name: str, did: str = ARTIST) -> str:
    return f"at://{did}/fm.plyr.track/{name}"


class Known:
    """A directory of two accounts that counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        self.asked.append(did)
        if did not in KEYS:
            raise UnknownDid(did)
        return Identity(Did(did), signing_key=KEYS[Did(did)].public)

    def forget(self, did: str) -> None:
        pass


class Site:
    """A service of our own methods only, on a real store."""

    def __init__(self, store: Store, client: TestClient[Any, Any], directory: Known) -> None:
        self.store, self.client, self.directory = store, client, directory
        self.lexicons = load_lexicons(AUTHORITY)

    async def ask(self, method: str, *, token: str | None = None, **params: Any) -> dict[str, Any]:
        """An answer that fits the method's lexicon."""
        answer = await self.try_(method, token=token, **params)
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        schema, home = find(f"{AUTHORITY}.{method}", "", self.lexicons)
        check_value(told, schema["output"]["schema"], home, self.lexicons)
        return told

    async def try_(self, method: str, *, token: str | None = None, **params: Any) -> Any:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.client.get(f"/xrpc/{AUTHORITY}.{method}", params=params, headers=headers)

    async def publish(self, name: str, did: Did = ARTIST, *, audio: Cid = AUDIO, **changes: Any) -> None:
        """A track that was heard and labelled."""
        blob = BlobRef(audio, "audio/mpeg", 10)
        track = Track(AtUri.parse(uri(name, did)), Cid("bafy"), REV, f"Song {name}", 1, blob=blob, **changes)
        tags = (Tag("ambient", "msd", 0.75), Tag("quiet", "mtt", 0.125))
        vectors = {Space.MUSICNN_SOUND: np.full(400, 0.05, np.float32)}
        verdict = Verdict(VerdictStatus.OK, ("electronic",), genres=(Genre("electronic", "Electronic", 0.61),))
        label = Label(LABELER, uri(name, did), "electronic", "2026-01-01T00:00:00.000Z", sig=b"s" * 64)
        profile = Wish(f"at://{did}/app.bsky.actor.profile/self", did, WishKind.PROFILE, Tid(REV))
        async with self.store.write() as tx:
            await wishes.put(tx, profile, now_us=NOW_US)
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=NOW_US)
            await analyses.put(tx, audio, Analysis(PACKS, 61.5, -14.0, tags, vectors), now_us=NOW_US)
            await labels.put_verdict(
                tx, uri(name, did), verdict, now_us=NOW_US, audio_key=audio, generation=generation_of(PACKS)
            )
            await labels.append(tx, [label], key_id="k")

    async def hide(self, name: str, did: Did = ARTIST) -> None:
        """The app that published it says that it is not public."""
        await self.publish(name, did, visibility_check="plyr", audio=cid_of(name.encode(), RAW))
        async with self.store.write() as tx:
            await tracks.set_visibility(tx, uri(name, did), Visibility.HIDDEN, page_url=None, now_us=NOW_US)

    def token(self, did: Did = ARTIST, *, key: SigningKey | None = None, **changes: Any) -> str:
        claims = {"aud": LABELER, "lxm": f"{AUTHORITY}.getActorReport"} | changes
        return mint(key or KEYS[did], iss=did, now_us=SystemClock().now_us(), **claims)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    async with store.write() as tx:
        await generations.arrange(tx, PACKS, now_us=NOW_US)
    yield store
    await store.close()


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    clock, directory = SystemClock(), Known()
    own = OwnMethods(store, src=LABELER, authority=AUTHORITY, key=CERTIFICATE_KEY, clock=clock)
    reports = ActorReports(
        store, src=LABELER, authority=AUTHORITY, secret=VIEWER_SECRET, directory=directory, clock=clock
    )

    async def healthy() -> None: ...

    web = Web(
        methods=[*own.methods(), reports.method],
        pages={"/api/lexicons": lexicon_page(AUTHORITY)},
        healthy=healthy,
        version="1",
        limits=Limits(sections.Limits(), clock),
        metrics=Metrics(),
        log=set_up(level="error"),
    )
    async with TestClient(TestServer(web.app)) as client:
        yield Site(store, client, directory)


# --- getTags ------------------------------------------------------------------------------------------------


async def test_tags_of_public_hidden_and_unknown_records(site: Site) -> None:
    await site.publish("one")
    await site.hide("two")
    told = await site.ask("getTags", uris=[uri("two"), uri("one"), uri("three"), uri("one")])
    hidden, public, unknown = told["tracks"]
    assert told["src"] == LABELER
    assert public == {
        "uri": uri("one"),
        "state": "decided",
        "labels": [{"val": "electronic", "cts": "2026-01-01T00:00:00.000Z"}],
        "genres": [{"identifier": "electronic", "name": "Electronic", "score": 610_000}],
        "packs": [{"name": "musicnn", "hash": "ab" * 32}],
        "durationMs": 61_500,
        "audio": AUDIO,
    }
    assert hidden == {"uri": uri("two"), "state": "decided", "labels": [], "genres": [], "packs": []}
    assert unknown == {"uri": uri("three"), "state": "unknown", "labels": [], "genres": [], "packs": []}


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (TrackState.UNDECIDED, "silence", "undecided"),
        (TrackState.REFUSED, "not_audio", "refused"),
        (TrackState.QUEUED, None, "waiting"),
        (TrackState.ANALYSING, None, "waiting"),
        (TrackState.WITHDRAWN, "withdrawn", "withdrawn"),
    ],
)
async def test_state_and_why(site: Site, state: TrackState, reason: str | None, told: str) -> None:
    await site.publish("one")
    async with site.store.write() as tx:
        await tracks.set_state(tx, uri("one"), state, reason, now_us=NOW_US)
    (view,) = (await site.ask("getTags", uris=uri("one")))["tracks"]
    assert (view["state"], view.get("reason")) == (told, reason)


async def test_a_label_that_was_taken_back_is_not_live(site: Site) -> None:
    await site.publish("one")
    taken = Label(LABELER, uri("one"), "electronic", "2026-01-02T00:00:00.000Z", neg=True, sig=b"s" * 64)
    async with site.store.write() as tx:
        await labels.append(tx, [taken], key_id="k")
    (view,) = (await site.ask("getTags", uris=uri("one")))["tracks"]
    assert view["labels"] == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"uris": "https://example.com"},
        {"uris": "at://artist.example.com/fm.plyr.track/one"},  # handles never (P211)
        {"uris": [uri("one"), "at://"]},
        {"uris": [uri(f"t{number}") for number in range(MAX_URIS + 1)]},
    ],
)
async def test_getTags_refuses(site: Site, params: dict[str, Any]) -> None:
    answer = await site.try_("getTags", **params)
    assert (answer.status, (await answer.json())["error"]) == (400, "InvalidRequest")


# --- getAnalysis --------------------------------------------------------------------------------------------


async def test_a_certificate_of_what_was_heard(site: Site) -> None:
    await site.publish("one")
    answer = await site.ask("getAnalysis", cid=AUDIO)
    said = answer["certificate"]
    assert (said["$type"], said["issuer"]) == (f"{AUTHORITY}.getAnalysis#certificate", LABELER)
    assert (said["audio"], said["durationMs"], said["generation"]) == (AUDIO, 61_500, generation_of(PACKS))
    assert said["analysedAt"] == "2027-01-15T08:00:00.000Z"
    assert [(score["name"], score["score"]) for score in said["scores"]] == [("ambient", 750_000), ("quiet", 125_000)]
    assert verify_certificate(answer, CERTIFICATE_KEY.public)
    assert answer["key"] == CERTIFICATE_KEY.public.did_key
    assert await site.ask("getAnalysis", cid=AUDIO) == answer


async def test_of_audio_that_only_hidden_records_name_there_is_none(site: Site) -> None:
    await site.hide("two")
    cid = cid_of(b"two", RAW)
    answer = await site.try_("getAnalysis", cid=cid)
    assert (answer.status, (await answer.json())["error"]) == (400, "UnknownAudio")
    await site.publish("public", OTHER, audio=cid)  # heard for a public record too
    assert (await site.ask("getAnalysis", cid=cid))["certificate"]["audio"] == cid


async def test_a_record_that_merely_names_the_audio_opens_nothing(site: Site) -> None:
    await site.hide("two")
    cid = cid_of(b"two", RAW)
    track = Track(AtUri.parse(uri("thief", OTHER)), Cid("bafy"), REV, "T", 1, blob=BlobRef(cid, "audio/mpeg", 10))
    async with site.store.write() as tx:
        await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=NOW_US)
    assert (await site.try_("getAnalysis", cid=cid)).status == 400


@pytest.mark.parametrize("cid", ["", "x", "bafy", AUDIO.upper(), "url:https://example.com/a.mp3", "b" + "a" * 300])
async def test_getAnalysis_refuses(site: Site, cid: str) -> None:
    answer = await site.try_("getAnalysis", cid=cid)
    assert (answer.status, (await answer.json())["error"]) == (400, "InvalidRequest")


async def test_without_a_key_there_are_no_certificates(site: Site) -> None:
    own = OwnMethods(site.store, src=LABELER, authority=AUTHORITY, key=None, clock=SystemClock())
    assert [method.nsid for method in own.methods()] == [f"{AUTHORITY}.getTags", f"{AUTHORITY}.getLabelStats"]


def test_an_authority_that_names_no_method_is_refused() -> None:
    unused: Any = None
    with pytest.raises(Misconfigured):
        OwnMethods(unused, src=LABELER, authority="com.under_score", key=None, clock=SystemClock())


def labelling(*, labeler: str, secret: str) -> Labelling:
    """The labeler's part of a service with this certificate key."""
    settings = Settings(
        service=sections.Service(public_url="https://music.example.com"),
        labeler=sections.Labeler(did=labeler, key=SecretStr("11" * 32)),
        certificates=sections.Certificates(key=SecretStr(secret)),
    )
    unused: Any = None
    return Labelling(
        settings,
        http=unused,
        directory=unused,
        taxonomy=Taxonomy.load(),
        clock=SystemClock(),
        log=unused,
        metrics=unused,
    )


@pytest.mark.parametrize(("labeler", "listed"), [("did:web:music.example.com", True), (LABELER, False)])
def test_the_service_lists_the_key_if_it_is_its_own_labeler(labeler: str, listed: bool) -> None:
    key = labelling(labeler=labeler, secret=bytes(range(3, 35)).hex()).own_certificate_key
    assert key == (CERTIFICATE_KEY.public if listed else None)


def test_p45_the_label_key_signs_no_certificates() -> None:
    with pytest.raises(Misconfigured, match=r"certificates\.key_file: is the label key"):
        labelling(labeler=LABELER, secret="11" * 32)


# --- getLabelStats ------------------------------------------------------------------------------------------


async def test_stats_count_live_labels_and_are_kept_for_a_minute(site: Site) -> None:
    for name in ("one", "two"):
        await site.publish(name)
    gone = Label(LABELER, uri("two"), "ambient", "2026-01-02T00:00:00.000Z", neg=True, sig=b"s" * 64)
    foreign = Label("did:plc:somebodyelse222222222222", uri("two"), "rock", "2026-01-02T00:00:00.000Z", sig=b"s" * 64)
    async with site.store.write() as tx:
        await labels.append(tx, [gone, foreign], key_id="k")
    told = await site.ask("getLabelStats")
    assert told["labels"] == [{"val": "electronic", "live": 2}]
    assert told["tracks"] == {"decided": 2, "undecided": 0, "refused": 0, "waiting": 0, "withdrawn": 0}
    await site.publish("three")
    assert await site.ask("getLabelStats") == told


# --- getActorReport -----------------------------------------------------------------------------------------


async def fill(site: Site) -> None:
    """An artist with a public and a hidden track, a post, reports, a ruling, signals; and another account."""
    await site.publish("one", author_tags=("drone",))
    await site.hide("two")
    await site.publish("theirs", OTHER)
    post = f"at://{ARTIST}/app.bsky.feed.post/p"

    def dispute(reporter: Did, digest: str) -> NewDispute:
        return NewDispute(
            created_us=NOW_US,
            state=DisputeState.OPEN,
            reporter=reporter,
            by_artist=reporter == ARTIST,
            uri=uri("one"),
            subject=f"at://{reporter}/app.bsky.feed.post/shares-one",
            subject_cid=None,
            reason_type="com.atproto.moderation.defs#reasonOther",
            words=f"words of {reporter}",
            digest=digest,
            labels=("electronic",),
        )

    async with site.store.write() as tx:
        await links.put(tx, [Link(post, ARTIST, uri("one"), LinkRule.EMBED_RECORD, NOW_US)], now_us=NOW_US)
        await wishes.put(tx, wishes.in_report(ARTIST, Scope.FEEDS, now_us=NOW_US), now_us=NOW_US)
        await disputes.add(tx, dispute(ARTIST, "1"))
        await disputes.add(tx, dispute(OTHER, "2"))
        await rulings.put(tx, uri("one"), Ruling(frozenset({"rock"}), ("ambient",)), now_us=NOW_US)
        for did in (ARTIST, OTHER):
            key = feedback.viewer_key(did, VIEWER_SECRET)
            await feedback.put(tx, key, "for-you", {uri("heard"): feedback.FeedWish.LESS}, now_us=NOW_US)
        await announcements.put_wish(tx, post, ARTIST, Said.YES, said_us=NOW_US, now_us=NOW_US)
        await announcements.put_wish(tx, OTHER, OTHER, Said.YES, said_us=NOW_US, now_us=NOW_US)
        made = Announcement(uri("one"), ARTIST, None, False, ANNOUNCED, None, AnnouncementState.PLANNED, NOW_US)
        await announcements.plan(tx, made)
        like = AtUri.parse(f"at://{OTHER}/app.bsky.feed.like/l")
        given = AtUri.parse(f"at://{ARTIST}/app.bsky.feed.like/l")
        await signals.put(tx, [Signal(like, uri("one"), SignalKind.LIKE, NOW_US)])
        await signals.put(tx, [Signal(given, uri("theirs", OTHER), SignalKind.LIKE, NOW_US)])
        for actor, kind in ((ARTIST, ActorKind.ARTIST), (OTHER, ActorKind.LISTENER), ("root", ActorKind.OPERATOR)):
            await actions.note(
                tx, at_us=NOW_US, actor_kind=kind, actor=actor, verb="dispute.note", uri=uri("one"), reason="why"
            )


async def test_everybody_sees_what_is_public(site: Site) -> None:
    await fill(site)
    told = await site.ask("getActorReport", actor=ARTIST)
    assert (told["complete"], told["disputes"], told["actions"], told["account"]) == (False, [], [], {"active": True})
    (track,) = told["tracks"]
    assert (track["view"]["uri"], track["title"], track["authorTags"]) == (uri("one"), "Song one", ["drone"])
    assert [(step["val"], step["neg"]) for step in track["history"]] == [("electronic", False)]
    assert (track["posts"], track["signals"]) == (
        [f"at://{ARTIST}/app.bsky.feed.post/p"],
        [{"kind": "like", "count": 1}],
    )
    assert [post["uri"] for post in told["posts"]] == [f"at://{ARTIST}/app.bsky.feed.post/p"]
    assert [wish["kind"] for wish in told["wishes"]["records"]] == ["profile"]  # a report is nobody else's business
    assert {"denied", "stated", "scores"}.isdisjoint(track)
    assert site.directory.asked == []
    assert not {"cursor", "feedback", "announcing"} & set(told)
    assert "announcement" not in track


@pytest.mark.parametrize("audience", [LABELER, f"{LABELER}#atproto_labeler"])
async def test_the_account_itself_sees_all(site: Site, audience: str) -> None:
    await fill(site)
    async with site.store.write() as tx:
        await disputes.decide(tx, 2, DisputeState.REJECTED, by="root", decision="root heard it", now_us=NOW_US)
    told = await site.ask("getActorReport", actor=ARTIST, token=site.token(aud=audience))
    assert told["complete"] is True
    one, two = told["tracks"]
    assert (one["denied"], one["stated"]) == (["rock"], ["ambient"])
    assert [score["name"] for score in one["scores"]] == ["ambient", "quiet"]
    assert (two["view"]["uri"], two["title"], two["visibility"]) == (uri("two"), "Song two", "hidden")
    assert two["view"]["labels"] == [{"val": "electronic", "cts": "2026-01-01T00:00:00.000Z"}]
    assert [(one["mine"], one.get("words")) for one in told["disputes"]] == [
        (True, f"words of {ARTIST}"),
        (False, None),
    ]
    assert [(one["state"], "decidedAt" in one) for one in told["disputes"]] == [("open", False), ("rejected", True)]
    assert [step["by"] for step in told["actions"]] == ["operator", "listener", "artist"]
    assert {wish["kind"] for wish in told["wishes"]["records"]} == {"profile", "report"}
    assert told["account"]["signals"] == [{"kind": "like", "count": 1}]
    at = told["feedback"][0]["at"]
    assert told["feedback"] == [{"uri": uri("heard"), "feed": "for-you", "wish": "less", "at": at}]
    assert [(one["uri"], one["said"]) for one in told["announcing"]] == [(f"at://{ARTIST}/app.bsky.feed.post/p", "yes")]
    assert (one["announcement"]["post"], one["announcement"]["state"]) == (ANNOUNCED, "planned")
    assert "announcement" not in two
    told.pop("cursor", None)
    assert OTHER not in str(told)
    assert "root" not in str(told)


async def test_somebody_who_reported_sees_their_own_report(site: Site) -> None:
    await fill(site)
    told = await site.ask("getActorReport", actor=OTHER, token=site.token(OTHER))
    assert [(one["mine"], one["words"]) for one in told["disputes"]] == [(True, f"words of {OTHER}")]


async def test_a_token_of_another_account_shows_what_everybody_sees_and_no_key_is_looked_up(site: Site) -> None:
    await fill(site)
    public = await site.ask("getActorReport", actor=ARTIST)
    assert await site.ask("getActorReport", actor=ARTIST, token=site.token(OTHER)) == public
    assert site.directory.asked == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"aud": "did:web:elsewhere.example.com"}, "BadJwtAudience"),
        ({"aud": f"{LABELER}#bsky_fg"}, "BadJwtAudience"),
        ({"lxm": "com.atproto.moderation.createReport"}, "BadJwtLexiconMethod"),
        ({"key": KEYS[OTHER]}, "BadJwtSignature"),
    ],
)
async def test_P116_a_token_that_cannot_be_believed_is_refused(site: Site, changes: dict[str, Any], error: str) -> None:
    answer = await site.try_("getActorReport", actor=ARTIST, token=site.token(**changes))
    assert (answer.status, (await answer.json())["error"]) == (401, error)
    assert answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("way", ["away", "opted out", "logged in only"])
async def test_P151_of_an_account_that_is_kept_from_the_public_nothing_derived_is_told(site: Site, way: str) -> None:
    await fill(site)
    async with site.store.write() as tx:
        if way == "away":
            await accounts.put(tx, Account(ARTIST, False, "deactivated"), now_us=NOW_US)
        else:
            scope, newer = Scope.ALL if way == "opted out" else Scope.NONE, make_tid(NOW_US + 1)
            profile = f"at://{ARTIST}/app.bsky.actor.profile/self"
            wish = Wish(profile, ARTIST, WishKind.PROFILE, newer, scope, way == "logged in only")
            await wishes.put(tx, wish, now_us=NOW_US)
    told = await site.ask("getActorReport", actor=ARTIST)
    assert (told["tracks"], told["posts"]) == ([], [])
    complete = await site.ask("getActorReport", actor=ARTIST, token=site.token())
    assert len(complete["tracks"]) == 2


async def test_pages_hold_everything_once(site: Site) -> None:
    names = [f"t{number}" for number in range(7)]
    for name in names:
        await site.publish(name)
    post = [
        Link(f"at://{ARTIST}/app.bsky.feed.post/p{n}", ARTIST, uri("t0"), LinkRule.EMBED_RECORD, n) for n in range(3)
    ]
    async with site.store.write() as tx:
        await links.put(tx, post, now_us=NOW_US)
        for _ in range(5):
            await actions.note(tx, at_us=NOW_US, actor_kind=ActorKind.SERVICE, actor=None, verb="v", uri=uri("t0"))
    token, found, params = site.token(), [], {"actor": ARTIST, "limit": 2}
    for _ in range(10):
        page = await site.ask("getActorReport", token=token, **params)
        assert all(len(page[name]) <= 2 for name in ("tracks", "posts", "disputes", "actions"))
        found.append(page)
        if "cursor" not in page:
            break
        params["cursor"] = page["cursor"]
    assert [track["view"]["uri"] for page in found for track in page["tracks"]] == [uri(name) for name in names]
    assert [one["uri"] for page in found for one in page["posts"]] == [link.post_uri for link in post]
    assert [one["id"] for page in found for one in page["actions"]] == [5, 4, 3, 2, 1]
    assert len(found) == 4


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"actor": "artist.example.com"},
        {"actor": ARTIST, "limit": "51"},
        {"actor": ARTIST, "cursor": "x"},
        {"actor": ARTIST, "cursor": "W10="},  # []
        {"actor": ARTIST, "cursor": "WzEsMiwzLDRd"},  # [1,2,3,4]
        {"actor": ARTIST, "cursor": "Wzk5OTk5OTk5OTk5OTk5OTk5OTksIiIsMCwwXQ=="},  # past any number
        {"actor": ARTIST, "cursor": "W3RydWUsIiIsMCwwXQ=="},  # [true,"",0,0]
    ],
)
async def test_getActorReport_refuses(site: Site, params: dict[str, Any]) -> None:
    answer = await site.try_("getActorReport", **params)
    assert (answer.status, (await answer.json())["error"]) == (400, "InvalidRequest")


async def test_of_a_stranger_nothing_is_known(site: Site) -> None:
    told = await site.ask("getActorReport", actor="did:web:stranger.example.com")
    assert (told["tracks"], told["posts"], told["wishes"]["records"]) == ([], [], [])


async def test_the_service_shows_its_lexicons(site: Site) -> None:
    told = await (await site.client.get("/api/lexicons")).json()
    assert {document["id"]: document for document in told["lexicons"]} == site.lexicons
