"""`com.atproto.label.queryLabels` and `subscribeLabels` without a transport (P51-P81)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import orjson

from core.errors import XrpcError
from core.types import Did
from core.xrpc import Call, Param, Query, Subscription
from labeler.frames import labels_frame
from labeler.signing import to_json
from store import Store, labels

MAX_PATTERNS = 100  # P60
_PAGE = 500  # rows of the log that a subscriber reads at once (P75)
_IDLE_SECONDS = 5.0  # the bell is a hint: look again without it
_MAX_SEQ = 2**53 - 1  # P66
_SEQ = re.compile(r"[0-9]{1,16}", re.ASCII)
_SHORTEST_PREFIX_IN_COMPANY = len("at://did:")  # P60


class LabelMethods:
    """Serves the label log of one labeler. Read-only: it holds no key and never waits for a writer."""

    def __init__(self, store: Store, *, src: Did) -> None:
        self._store = store
        self._src = src

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
        )

    @property
    def subscribe_labels(self) -> Subscription:
        """The log from a cursor on, then live. Each subscriber pulls at its own pace: nothing is queued for it here."""
        return Subscription("com.atproto.label.subscribeLabels", self._frames, (Param("cursor", "integer", minimum=0),))

    async def _query(self, call: Call) -> bytes:
        exact, prefixes = split_patterns(call.params["uriPatterns"])
        after_seq = _parse_cursor(call.params["cursor"])
        limit: int = call.params["limit"]
        sources: Sequence[str] = call.params["sources"]
        if sources and self._src not in sources:  # P57
            return orjson.dumps({"labels": []})
        async with self._store.read() as reader:
            rows = await labels.query(
                reader, exact=exact, prefixes=prefixes, sources=[self._src], after_seq=after_seq, limit=limit
            )
        page: dict[str, object] = {"labels": [to_json(row.label) for row in rows]}
        if len(rows) == limit:  # P56: a page that is not full is the last
            page["cursor"] = str(rows[-1].seq)
        return orjson.dumps(page)

    async def _frames(self, call: Call) -> AsyncIterator[bytes]:
        cursor: int | None = call.params["cursor"]
        async with self._store.read() as reader:
            newest = await labels.newest_seq(reader)
        if cursor is not None and cursor > newest:  # P71
            raise XrpcError("FutureCursor", "Cursor in the future.")
        after_seq = newest if cursor is None else cursor  # P68, P69
        while True:
            seen = self._store.bell.count("label")
            async with self._store.read() as reader:  # closed before yielding: a slow reader holds no connection
                rows = await labels.stream(reader, after_seq=after_seq, limit=_PAGE)
            for row in rows:
                if row.label.src == self._src:  # P15: what an earlier identity signed is not ours to serve
                    yield labels_frame(row.seq, [row.label])
                after_seq = row.seq
            if len(rows) < _PAGE:
                await self._store.bell.wait("label", _IDLE_SECONDS, seen=seen)


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
