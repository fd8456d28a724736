"""Posts that point at tracks, whether or not the track is known yet."""

from __future__ import annotations

from collections.abc import Sequence

from core.link import Link, LinkRule
from core.types import Did
from store.engine import Reader, Row, Tx


async def put(tx: Tx, links: Sequence[Link], *, now_us: int) -> None:
    """Remember links; of several from one post to one target the surest rule counts."""
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
            "now_us": now_us,
        }
        for link in surest.values()
    ]
    await tx.run_many("links.put", rows)


async def drop_post(tx: Tx, post_uri: str) -> None:
    """Forget all links of a post."""
    await tx.run("links.drop_post", post_uri=post_uri)


async def of_track(r: Reader, uri: str) -> list[Link]:
    """Links to the record or to its page, oldest first; none of authors whose account is inactive (P151)."""
    return [link_of_row(row) for row in await r.rows("links.of_track", uri=uri)]


def link_of_row(row: Row) -> Link:
    """The link in a row of `of_track`."""
    post_uri, post_did, target, rule, created_us, reply, adult, targets_in_post, card = row
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
    )
