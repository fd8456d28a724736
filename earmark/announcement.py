"""The post that announces a track: whether there may be one, under which key, and what it says (POSTS.md section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.analysis import Genre, Verdict
from core.clock import format_datetime
from core.taxonomy import Publish, Taxonomy
from core.types import Account, AtUri, Did, Nsid, Tid, TrackState, Visibility, make_tid
from store.announcements import AnnouncementWish, Said
from store.tracks import MACHINE_TAGS, STYLE_FROM, StoredTrack
from store.wishes import Standing

POSTS = Nsid("app.bsky.feed.post")
SETTLE_US = 600_000_000  # edits and deletions come first
STALE_US = 3 * 86_400_000_000  # what is found later than that is no news
MAX_TITLE_CHARACTERS = 180  # of a post's 300
MAX_HANDLE_CHARACTERS = 100
MAX_CARD_CHARACTERS = 300
HEARD = (TrackState.READY, TrackState.UNDECIDED)
_BANNED = frozenset({"takendown", "suspended"})
_UNWANTED = frozenset({"gated", "not_public", "self_label", "opted_out", "withheld", "denied", "held"})


def announce_since(wishes: Sequence[AnnouncementWish]) -> int | None:
    """Since when an artist wants new tracks announced, in unix microseconds; None: not at all, or not any more.

    It counts from when we first saw it said: a date in a record proves nothing.
    """
    return min((wish.seen_us for wish in standing_wishes(wishes)), default=None)


def standing_wishes(wishes: Sequence[AnnouncementWish]) -> list[AnnouncementWish]:
    """Those that ask for announcements and that the artist's last `stop` did not end."""
    stopped_us = max((wish.said_us for wish in wishes if wish.said is Said.STOP), default=-1)
    return [wish for wish in wishes if wish.said is Said.YES and wish.said_us > stopped_us]


@dataclass(frozen=True, slots=True)
class Case:
    """What decides over the post of a track. `stored` None: never seen; `verdict` None: none so far; `since_us`: see
    `announce_since`.
    """

    stored: StoredTrack | None
    verdict: Verdict | None
    standing: Standing
    account: Account
    since_us: int | None


def must_go(case: Case) -> bool:
    """Whether no post of ours may stand for this track: it is gone, or not for everybody, or is no music after all, or
    its artist says no, or was banned.

    Everybody can read our posts, so there is none of who is not to be shown to people who are logged out.

    While an account is away by itself nothing is taken back (P151): it may be back tomorrow.
    """
    stored, verdict = case.stored, case.verdict
    if stored is None or stored.state is TrackState.WITHDRAWN or case.since_us is None:
        return True
    track = stored.track
    closed = track.gated or bool(track.self_labels) or stored.visibility is Visibility.HIDDEN
    machine = not MACHINE_TAGS.isdisjoint(tag.casefold() for tag in track.author_tags)
    refused = stored.state is TrackState.REFUSED and stored.reason in _UNWANTED
    no_music = stored.state in HEARD and verdict is not None and not verdict.rankable
    banned = not case.account.active and case.account.status in _BANNED
    return closed or machine or refused or no_music or banned or case.standing != Standing()


def is_due(case: Case, *, now_us: int) -> bool:
    """Whether a track may be announced now, if it is public: new since its artist asked for it, heard, at rest."""
    stored, since_us = case.stored, case.since_us
    if stored is None or since_us is None or case.verdict is None or must_go(case):
        return False
    track = stored.track
    at_rest = max(stored.first_seen_us, stored.updated_us, track.hold_until_us or 0) <= now_us - SETTLE_US
    new = since_us < min(track.created_us, stored.first_seen_us)
    fresh = now_us - max(track.created_us, track.hold_until_us or 0) < STALE_US
    return at_rest and new and fresh and stored.state in HEARD and track.page_url is not None


def announcement_key(track_uri: str) -> Tid:
    """The record key of a track's post, always the same: a crash between two steps posts nothing twice."""
    number = int.from_bytes(hashlib.blake2b(track_uri.encode(), digest_size=8, person=b"earmark-post").digest(), "big")
    return make_tid((number >> 1) >> 10, number % 1024)


def post_uri(bot: Did, track_uri: str) -> AtUri:
    return AtUri(bot, POSTS, announcement_key(track_uri))


def write_post(
    stored: StoredTrack,
    *,
    handle: str | None,
    mention: bool,
    tags: Sequence[str],
    thumb: Mapping[str, Any] | None,
    thread: Mapping[str, Any] | None,
    now_us: int,
) -> dict[str, Any]:
    """The record. `handle` was verified, or is None; it is mentioned, which notifies, only if the artist asked."""
    track = stored.track
    title = _cut(track.title, MAX_TITLE_CHARACTERS)
    text = f"New: {title}"
    post: dict[str, Any] = {"$type": POSTS, "langs": ["en"], "createdAt": format_datetime(now_us)}
    if handle is not None and len(handle) <= MAX_HANDLE_CHARACTERS:
        start = len(f"{text} by ".encode())
        text = f"{text} by @{handle}"
        if mention:
            feature = {"$type": "app.bsky.richtext.facet#mention", "did": track.did}
            index = {"byteStart": start, "byteEnd": len(text.encode())}
            post["facets"] = [{"index": index, "features": [feature]}]
    external: dict[str, Any] = {
        "uri": track.page_url,
        "title": title,
        "description": _cut(track.artist or track.album or "", MAX_CARD_CHARACTERS),
        "associatedRefs": [{"uri": str(track.uri), "cid": track.cid}],
    }
    if thumb is not None:
        external["thumb"] = thumb
    post |= {"text": text, "embed": {"$type": "app.bsky.embed.external", "external": external}}
    if tags:
        post["tags"] = list(tags)
    return post if thread is None else post | {"reply": dict(thread)}


def name_tags(labels: Sequence[str], genres: Sequence[Genre], taxonomy: Taxonomy) -> list[str]:
    """The parent genre and the top style of what was heard, as far as they may be said; hidden in the post."""
    heard = [*labels, *(genre.identifier for genre in genres if genre.score >= STYLE_FROM)] if labels else []
    parents = [name for name in heard if name in taxonomy.parents]
    styles = [name for name in heard if name in taxonomy.styles and taxonomy.publish_kind(name) is Publish.STYLE]
    return [taxonomy.display(name) for name in (*parents[:1], *styles[:1])]


def is_quiet(quiet_hours: str, now_us: int) -> bool:
    """Whether it is one of the hours (UTC) in which nothing is posted: "22-7" runs over midnight."""
    if not quiet_hours:
        return False
    first, last = (int(part) for part in quiet_hours.split("-"))
    hour = now_us // 3_600_000_000 % 24
    return first <= hour < last if first <= last else hour >= first or hour < last


def _cut(text: str, characters: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= characters else flat[: characters - 1].rstrip() + "…"
