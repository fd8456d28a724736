"""Our own XRPC methods for clients: tags of records, certificates of analyses, counts (docs/lexicons.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from core.clock import Clock
from core.dagcbor import cid_binary
from core.errors import Misconfigured, XrpcError
from core.keys import SigningKey
from core.types import AtUri, Did, parse_nsid
from core.xrpc import Call, Method, Param, Query
from earmark.report import look_up
from earmark.views import STATES, tell_view
from labeler.certificate import KIND, certify
from store import Store, analyses, dossiers, tracks

MAX_URIS = 25
MAX_RECORDS = 100  # of one audio, looked through for a public one
STATS_SECONDS = 60.0  # counting reads every live label


class OwnMethods:
    """Their names begin with `authority`. Without `key` no certificates are offered."""

    def __init__(self, store: Store, *, src: Did, authority: str, key: SigningKey | None, clock: Clock) -> None:
        """Raises Misconfigured when no method can be named after `authority`."""
        try:
            parse_nsid(f"{authority}.getAnalysis")
        except ValueError:
            raise Misconfigured("service.authority", "is no name for methods; set one such as com.example") from None
        self._store, self._src, self._authority, self._key, self._clock = store, src, authority, key, clock
        self._kind = authority + KIND
        self._stats: tuple[float, Mapping[str, Any]] | None = None
        self._counting = asyncio.Lock()

    def methods(self) -> list[Method]:
        """As transport-free descriptions."""
        cid = Param("cid", required=True, max_length=256)
        found: list[Method] = [
            Query(f"{self._authority}.getTags", self.get_tags, (Param("uris", array=True, required=True),)),
            Query(f"{self._authority}.getLabelStats", self.get_label_stats),
        ]
        return (
            found if self._key is None else [*found, Query(f"{self._authority}.getAnalysis", self.get_analysis, (cid,))]
        )

    async def get_tags(self, call: Call) -> Mapping[str, Any]:
        """What was heard in up to 25 records. Raises XrpcError InvalidRequest."""
        given: list[str] = call.params["uris"]
        if len(given) > MAX_URIS:
            raise XrpcError("InvalidRequest", f"ask for at most {MAX_URIS} records at once")
        try:
            uris = dict.fromkeys(str(AtUri.parse(uri)) for uri in given)
        except ValueError:
            raise XrpcError("InvalidRequest", "uris must be at-uris of records, with DIDs") from None
        async with self._store.read() as reader:
            views = [tell_view(uri, await look_up(reader, uri, labeler_did=self._src)) for uri in uris]
        return {"src": self._src, "tracks": views}

    async def get_analysis(self, call: Call) -> Mapping[str, Any]:
        """The certificate of an audio that a public record names. Raises XrpcError InvalidRequest, UnknownAudio."""
        assert self._key is not None
        cid: str = call.params["cid"]
        try:
            cid_binary(cid)
        except ValueError:
            raise XrpcError("InvalidRequest", "cid must be the CID of a blob") from None
        async with self._store.read() as reader:
            for heard in await dossiers.heard_for(reader, cid, limit=MAX_RECORDS):
                known = await look_up(reader, heard.uri, labeler_did="")
                if known is None or known.analysis is None:
                    continue  # kept from the public
                analysis = await analyses.get(reader, cid, heard.generation)
                if analysis is not None:
                    break
            else:
                raise XrpcError("UnknownAudio", "no public record that we know names this audio, or it was not heard")
        return certify(
            analysis,
            kind=self._kind,
            issuer=self._src,
            audio=cid,
            generation=heard.generation,
            heard_us=heard.heard_us,
            key=self._key,
        )

    async def get_label_stats(self, _: Call) -> Mapping[str, Any]:
        """Live labels by value and records by state, as of at most a minute ago."""
        async with self._counting:
            now = self._clock.monotonic()
            if self._stats is None or now - self._stats[0] >= STATS_SECONDS:
                self._stats = (now, await self._count())
            return self._stats[1]

    async def _count(self) -> Mapping[str, Any]:
        async with self._store.read() as reader:
            live = await dossiers.label_counts(reader, self._src)
            by_state = await tracks.count_by_state(reader)
        counted = dict.fromkeys(STATES.values(), 0)
        for state, told in STATES.items():
            counted[told] += by_state[state.value]
        return {"src": self._src, "tracks": counted, "labels": [{"val": val, "live": count} for val, count in live]}
