"""`com.atproto.label.queryLabels` and `subscribeLabels` without a transport (P51-P81)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import orjson

from core.errors import XrpcError
from core.types import Did
from core.xrpc import Batch, Call, Param, Query, Subscription
from labeler.frame_log import FrameLog
from labeler.renewal import Renewal
from store import Store, served

MAX_PATTERNS = 100  # P60
_STATEMENT_SECONDS = 5.0  # P60
_MAX_SEQ = 2**53 - 1  # P66
_SEQ = re.compile(r"[0-9]{1,16}", re.ASCII)
_SHORTEST_PREFIX_IN_COMPANY = len("at://did:")  # P60


class LabelMethods:
    """Serves the label log of one labeler. It holds no key; it waits for a writer only while keys change."""

    def __init__(self, store: Store, *, src: Did, renewal: Renewal | None = None) -> None:
        self._store = store
        self._src = src
        self._renewal = renewal
        self._log = FrameLog(store, src=src, renewal=renewal)

    @property
    def query_labels(self) -> Query:
        """The newest row of each key of the matching subjects, negations included (P58), in order of sequence."""
        return Query(
            "com.atproto.label.queryLabels",
            self._query,
            (
                Param("uriPatterns", array=True, required=True),
                Param("sources", array=True),
                Param("limit", "integer", default=50, minimum=1, maximum=250),
                Param("cursor"),
            ),
            bounded=True,
        )

    @property
    def subscribe_labels(self) -> Subscription:
        """The log from a cursor on, then live. Each subscriber pulls at its own pace: nothing is queued for it here."""
        cursor = Param("cursor", "integer", minimum=0)
        return Subscription("com.atproto.label.subscribeLabels", self._batches, self._log.newest, (cursor,))

    async def _query(self, call: Call) -> bytes:
        exact, prefixes = split_patterns(call.params["uriPatterns"])
        after_seq = _parse_cursor(call.params["cursor"])
        limit: int = call.params["limit"]
        sources: Sequence[str] = call.params["sources"]
        if sources and self._src not in sources:  # P57
            return orjson.dumps({"labels": []})
        rows = await self._find(exact, prefixes, after_seq, limit)
        if self._renewal is not None and await self._renewal.renew([seq for seq, _ in rows]):
            rows = await self._find(exact, prefixes, after_seq, limit)
        more = f',"cursor":"{rows[-1][0]}"' if len(rows) == limit else ""  # P56: a page that is not full is the last
        return f'{{"labels":[{",".join([form for _, form in rows])}]{more}}}'.encode()

    async def _find(
        self, exact: Sequence[str], prefixes: Sequence[str], after_seq: int, limit: int
    ) -> list[served.Served]:
        """Most ask one thing with a short answer: that takes one statement, which is its own snapshot."""
        page = {"after_seq": after_seq, "limit": limit}
        found = None
        if len(exact) == 1 and not prefixes:
            found = await served.of_subject(self._store.peek, exact[0], src=self._src, **page)
        elif len(prefixes) == 1 and not exact:
            found = await served.few_under(self._store.peek, prefixes[0], src=self._src, **page)
        if found is None:
            async with asyncio.timeout(_STATEMENT_SECONDS), self._store.read() as reader:
                found = await served.query(reader, exact=exact, prefixes=prefixes, src=self._src, **page)
        return found

    async def _batches(self, call: Call) -> AsyncIterator[Batch]:
        cursor: int | None = call.params["cursor"]
        newest = await self._log.newest()
        if cursor is not None and cursor > newest:  # P71
            raise XrpcError("FutureCursor", "Cursor in the future.")
        after_seq = newest if cursor is None else cursor  # P68, P69
        while True:
            seen = self._store.bell.count("label")
            batch = await self._log.after(after_seq)
            if batch is None:
                await self._log.wait(after_seq, seen)
                continue
            if batch.wire:
                yield batch
            after_seq = batch.last


def split_patterns(patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Exact subjects and prefixes (P53, P60); the prefix "" means everything. Raises XrpcError InvalidRequest."""
    if len(patterns) > MAX_PATTERNS:
        raise XrpcError("InvalidRequest", f"at most {MAX_PATTERNS} uriPatterns")
    exact, prefixes = [], []
    for pattern in dict.fromkeys(patterns):
        head, star, tail = pattern.partition("*")
        if not star:
            exact.append(pattern)
        elif tail:
            raise XrpcError("InvalidRequest", "a * is allowed only at the end of a pattern")
        elif len(head) < _SHORTEST_PREFIX_IN_COMPANY and len(patterns) > 1:
            raise XrpcError("InvalidRequest", "so short a prefix must be the only pattern")
        else:
            prefixes.append(head)
    return exact, prefixes


def _parse_cursor(text: str | None) -> int:
    """The sequence number after which the page begins. Raises XrpcError InvalidRequest (P51)."""
    if text is None:
        return 0
    if not _SEQ.fullmatch(text) or int(text) > _MAX_SEQ:
        raise XrpcError("InvalidRequest", "not a cursor of ours")
    return int(text)
