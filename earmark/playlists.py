"""Public playlists, read from their owner's repository when somebody asks for music that goes with one."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from core.clock import Clock
from core.errors import AccountAway, Permanent, Transient, XrpcError
from core.ports import Directory, SafeHttp
from core.types import AtUri, Did, parse_nsid
from firehose.answers import RECORD_NOT_FOUND, check_answer, error_name
from firehose.control import LOGGED_IN_ONLY, PROFILE, SELF, self_labels
from firehose.signals import SIGNALS, subjects_of
from store import Store, links, wishes

LISTS = frozenset(name for name, mapping in SIGNALS.items() if "[]" in mapping.path)
PATIENCE_SECONDS = 3.0
FRESH_SECONDS = 600.0
MAX_LISTS = 1_000  # remembered, at most some 20 kB each
MAX_BYTES = 512_000
MAX_SUBJECTS = 200  # of one list that are looked up
_NONE = "there is no such list"


@dataclass(frozen=True, slots=True)
class _Cached:
    subjects: tuple[AtUri, ...]
    until: float  # monotonic seconds


class Playlists:
    """Reads lists, each at most once in ten minutes. Of who does not want to be seen by strangers none is read."""

    def __init__(self, store: Store, http: SafeHttp, directory: Directory, *, clock: Clock) -> None:
        self._store = store
        self._http = http
        self._directory = directory
        self._clock = clock
        self._cache: OrderedDict[AtUri, _Cached] = OrderedDict()

    async def read(self, uri: AtUri) -> tuple[str, ...]:
        """The known tracks that a list names, in its order. Raises XrpcError InvalidRequest for what is no list,
        UnknownList, and UpstreamFailure when its owner's host does not answer.
        """
        if uri.collection not in LISTS:
            raise XrpcError("InvalidRequest", f"list must be the at-uri of one of {', '.join(sorted(LISTS))}")
        async with self._store.read() as reader:
            if await wishes.logged_in_only(reader, uri.did):
                raise XrpcError("UnknownList", _NONE)
        subjects = await self._find(uri)
        found: dict[str, None] = {}
        async with self._store.read() as reader:
            for subject in subjects:
                behind = await links.tracks_behind(reader, str(subject))
                if len(behind) == 1:  # what several tracks claim stands for none of them
                    found[behind[0]] = None
        return tuple(found)

    async def _find(self, uri: AtUri) -> tuple[AtUri, ...]:
        cached = self._cache.get(uri)
        if cached is None or self._clock.monotonic() >= cached.until:
            try:
                named = dict.fromkeys(subjects_of(uri.collection, await self._fetch(uri)))
                subjects = tuple(named)[:MAX_SUBJECTS]
            except (Permanent, AccountAway):
                raise XrpcError("UnknownList", _NONE) from None
            except Transient:
                raise XrpcError("UpstreamFailure", "the list cannot be read at its host now", status=502) from None
            cached = self._cache[uri] = _Cached(subjects, self._clock.monotonic() + FRESH_SECONDS)
        self._cache.move_to_end(uri)
        while len(self._cache) > MAX_LISTS:
            self._cache.popitem(last=False)
        return cached.subjects

    async def _fetch(self, uri: AtUri) -> dict[str, Any]:
        """The list. Its owner is seldom an artist whose profile is known, and may not want to be seen by strangers."""
        host = (await self._directory.resolve(uri.did)).pds
        record = None if host is None else await self._get(host, uri)
        if host is None or record is None or LOGGED_IN_ONLY in self_labels(await self._get(host, _profile(uri.did))):
            raise XrpcError("UnknownList", _NONE)
        return record

    async def _get(self, host: str, uri: AtUri) -> dict[str, Any] | None:
        """One record; None if there is none, an empty one if it is no object."""
        answer = await self._http.get(
            f"{host}/xrpc/com.atproto.repo.getRecord",
            params={"repo": uri.did, "collection": uri.collection, "rkey": uri.rkey},
            max_bytes=MAX_BYTES,
            timeout_seconds=PATIENCE_SECONDS,
        )
        if error_name(answer) == RECORD_NOT_FOUND:
            return None
        record: object = None
        with suppress(orjson.JSONDecodeError, AttributeError):
            record = orjson.loads(check_answer(answer)).get("value")
        return record if isinstance(record, dict) else {}


def _profile(did: Did) -> AtUri:
    return AtUri(did, parse_nsid(PROFILE), SELF)
