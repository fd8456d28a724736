"""Which feed records were seen published."""

from __future__ import annotations

from store import Store, published_feeds


async def test_what_was_published_once_is_known_for_good(store: Store) -> None:
    async with store.write() as tx:
        await published_feeds.note(tx, ["at://did:plc:a/app.bsky.feed.generator/calm"])
        await published_feeds.note(tx, [f"at://did:plc:a/app.bsky.feed.generator/{name}" for name in ("calm", "heavy")])
    async with store.read() as reader:
        known = await published_feeds.known(reader)
    assert known == {f"at://did:plc:a/app.bsky.feed.generator/{name}" for name in ("calm", "heavy")}
