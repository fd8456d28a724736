"""Which accounts have records of a collection, as a relay lists them (P175). DIDs only, unverified, perhaps stale."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from core.clock import Clock, backoff_seconds
from core.errors import RateLimited, Unreachable
from core.ports import SafeHttp
from core.types import Did, parse_did
from firehose.answers import check_answer

PAGE_REPOS = 1_000  # relays give up to 2000
MAX_PAGE_BYTES = 4_000_000
MAX_CURSOR = 2_048
TIMEOUT_SECONDS = 30.0
TRIES = 5
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CensusPage:
    """Some accounts. `cursor` leads to more; None: these are the last."""

    dids: tuple[Did, ...]
    cursor: str | None


class _Repo(msgspec.Struct):
    did: str


class _Answer(msgspec.Struct):
    repos: list[_Repo]
    cursor: str | None = None


async def list_accounts(
    http: SafeHttp, relay_url: str, collection: str, cursor: str | None, *, clock: Clock
) -> CensusPage:
    """One page of the accounts that have records of the collection; patient with a relay that falters.

    Raises UnsafeHost, Unproven (the relay does not know the method), Unreachable, RateLimited.
    """
    attempt = 1
    while True:
        try:
            return await _ask(http, relay_url, collection, cursor)
        except (Unreachable, RateLimited) as error:
            pause = error.retry_after_seconds
            if pause is None:
                pause = backoff_seconds(attempt, clock, base=2.0, cap=PATIENCE_SECONDS)
            if attempt == TRIES or pause > PATIENCE_SECONDS:
                raise
        attempt += 1
        await asyncio.sleep(pause)


async def _ask(http: SafeHttp, relay_url: str, collection: str, cursor: str | None) -> CensusPage:
    params = {"collection": collection, "limit": str(PAGE_REPOS)} | ({} if cursor is None else {"cursor": cursor})
    answer = await http.get(
        f"{relay_url}/xrpc/com.atproto.sync.listReposByCollection",
        params=params,
        max_bytes=MAX_PAGE_BYTES,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    try:
        page = msgspec.json.decode(check_answer(answer), type=_Answer)
    except (msgspec.MsgspecError, RecursionError):
        raise Unreachable(f"{relay_url} does not list repositories as the method says") from None
    dids = tuple(did for repo in page.repos[: 2 * PAGE_REPOS] if (did := _did(repo.did)) is not None)
    more = page.cursor if page.repos and page.cursor and len(page.cursor) <= MAX_CURSOR else None
    return CensusPage(dids, None if more == cursor else more)


def _did(text: str) -> Did | None:
    try:
        return parse_did(text)
    except ValueError:
        return None
