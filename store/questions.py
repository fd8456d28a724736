"""When to look for posts about a track that nobody told us of while we listened (POSTS.md section 3)."""

from __future__ import annotations

from store.engine import Reader, Tx

# At first, then so long after that (POSTS.md: at ingest, +1 h, +1 day, +7 days).
ASK_AGAIN_US = (3_600_000_000, 86_400_000_000, 7 * 86_400_000_000)
_SHELVED_US = 2**62


async def ask(tx: Tx, uri: str, *, now_us: int) -> None:
    """Look for posts about this track from now on; anew if that was done before. Rings "question"."""
    await tx.run("questions.ask", uri=uri, now_us=now_us)
    tx.ring("question")


async def name_post(tx: Tx, uri: str, post_uri: str, *, now_us: int) -> None:
    """Another record of the track's artist says that this post is about it: have it looked at, unless it was."""
    if await tx.value("questions.name_post", uri=uri, post_uri=post_uri) is not None:
        await ask(tx, uri, now_us=now_us)


async def named_posts(r: Reader, uri: str, *, limit: int) -> list[str]:
    """The posts that `name_post` was told of, the newest keys first."""
    return [post_uri for (post_uri,) in await r.rows("questions.named_posts", uri=uri, limit=limit)]


async def due(r: Reader, *, now_us: int, limit: int) -> list[tuple[str, int]]:
    """(track's uri, how often it was asked) of tracks whose turn it is, the longest waiting first."""
    return [(uri, asked) for uri, asked in await r.rows("questions.due", now_us=now_us, limit=limit)]


async def settle(tx: Tx, uri: str, *, asked: int, now_us: int) -> None:
    """It was asked for the `asked`-th time now: when next, if ever."""
    if asked > len(ASK_AGAIN_US):
        await tx.run("questions.drop", uri=uri)
        return
    waited_us = 0 if asked == 1 else ASK_AGAIN_US[asked - 2]
    await tx.run("questions.put_off", uri=uri, asked=asked, due_us=now_us + ASK_AGAIN_US[asked - 1] - waited_us)


async def put_off(tx: Tx, uri: str, *, asked: int, due_us: int) -> None:
    """There was no answer: later again."""
    await tx.run("questions.put_off", uri=uri, asked=asked, due_us=due_us)


async def drop(tx: Tx, uri: str) -> None:
    """Look no more."""
    await tx.run("questions.drop", uri=uri)


async def forget(tx: Tx, uri: str) -> None:
    """The track is gone: nothing is looked for, and what was said of posts about it is forgotten."""
    await drop(tx, uri)
    await tx.run("questions.forget_posts", uri=uri)


async def shelve(tx: Tx, uri: str) -> None:
    """There is nobody to ask; `wake` puts it back."""
    await tx.run("questions.put_off", uri=uri, asked=0, due_us=_SHELVED_US)


async def wake(tx: Tx, *, now_us: int) -> None:
    """Somebody can be asked now: everything that was shelved is due."""
    await tx.run("questions.wake", shelved_us=_SHELVED_US, now_us=now_us)
