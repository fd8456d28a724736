"""Posts that point at tracks, whether or not the track is known yet."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from core.link import Link, LinkRule
from core.types import Did
from store import posters
from store.engine import Reader, Row, Tx

MAX_RANKED = 50  # links of one track that feeds choose from; all are kept


async def put(tx: Tx, links: Sequence[Link], *, now_us: int) -> None:
    """Remember links; of several from one post to one target the surest rule counts. Rings "linked"."""
    surest: dict[tuple[str, str], Link] = {}
    for link in links:
        known = surest.setdefault((link.post_uri, link.target), link)
        if link.confidence > known.confidence:
            surest[(link.post_uri, link.target)] = link
    rows = [
        {
            "post_uri": link.post_uri,
            "target": link.target,
            "post_did": link.post_did,
            "rule": link.rule.value,
            "created_us": link.created_us,
            "reply": int(link.reply),
            "adult": int(link.adult),
            "targets_in_post": link.targets_in_post,
            "card": int(link.card),
            "langs": " ".join(link.langs),
            "now_us": now_us,
        }
        for link in surest.values()
    ]
    await tx.run_many("links.put", rows)
    tx.ring("linked")


async def drop_post(tx: Tx, post_uri: str) -> bool:
    """Forget all links of a post. False when there were none. Rings "link" (a page may be showing it) and "linked"."""
    dropped = await tx.rows("links.drop_post", post_uri=post_uri)
    if dropped:
        tx.ring("link")
        tx.ring("linked")
    return bool(dropped)


async def drop_target(tx: Tx, target: str) -> None:
    """Nothing links this any more, for it is gone or was never a track. Rings "link": a page may be showing it."""
    await tx.run("links.uncount_target", target=target)
    if await tx.rows("links.drop_target", target=target):
        tx.ring("link")
        tx.ring("linked")


async def forget_account(tx: Tx, did: str) -> None:
    """Forget links by the account and to its records. Rings "link"."""
    by = await tx.rows("links.drop_author", did=did)
    to = await tx.rows("links.drop_range", first=f"at://{did}/", last=f"at://{did}0")
    await posters.forget(tx, did)
    if by or to:
        tx.ring("link")
        tx.ring("linked")


async def ring_for(tx: Tx, did: str) -> None:
    """Ring "link" if feeds may show something of this account. The network speaks of strangers all day."""
    if await tx.value("links.concerns", did=did):
        tx.ring("link")


async def is_linked(r: Reader, post_uri: str) -> bool:
    """Whether the post links anything that we know of."""
    return bool(await r.value("links.has_post", post_uri=post_uri))


async def newest_posts(r: Reader, *, limit: int) -> list[str]:
    """Posts that link something, by the newest links; one may come twice."""
    return [uri for (uri,) in await r.rows("links.newest_posts", limit=limit)]


async def tracks_of(r: Reader, post_uri: str) -> list[str]:
    """The tracks that a post which links one thing may stand for: more than one when several claim the same page."""
    return [uri for (uri,) in await r.rows("links.tracks_of", post_uri=post_uri)]


async def tracks_behind(r: Reader, subject: str) -> list[str]:
    """The tracks that a track's own address, the address of its page or a post about it alone may stand for."""
    return [uri for (uri,) in await r.rows("links.tracks_at", address=subject)] or await tracks_of(r, subject)


async def of_track(r: Reader, uri: str, *, limit: int = 500) -> list[Link]:
    """Links to the record or to its page, oldest first; none of authors whose account is inactive (P151)."""
    return [_link_of_row(row) for row in await r.rows("links.of_track", uri=uri, limit=limit)]


async def of_all_tracks(r: Reader) -> defaultdict[int, list[Link]]:
    """By track_id, the posts that may stand for it, at most the 50 best (POSTS.md section 3), oldest first."""
    # Off the loop: of a hundred thousand this takes a second.
    return await asyncio.to_thread(_by_track, await r.rows("links.of_all_tracks", limit=MAX_RANKED))


def _by_track(rows: Sequence[Row]) -> defaultdict[int, list[Link]]:
    found: defaultdict[int, list[Link]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(_link_of_row(row[1:]))
    return found


def _link_of_row(row: Row) -> Link:
    """The link in a row of `of_track`, or of `of_all_tracks`, which says more of its author."""
    post_uri, post_did, target, rule, created_us, reply, adult, targets_in_post, card, langs, *author = row
    born_us, liked = author or (None, 0)
    return Link(
        post_uri=post_uri,
        post_did=Did(post_did),
        target=target,
        rule=LinkRule(rule),
        created_us=created_us,
        reply=bool(reply),
        adult=bool(adult),
        targets_in_post=targets_in_post,
        card=bool(card),
        langs=tuple(langs.split()),
        author_born_us=born_us,
        liked=bool(liked),
    )
