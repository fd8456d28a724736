"""Asks a labeler everything that a reader may ask, and hands what it says to the strict reader (labeler.verifier)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import orjson

from core.clock import Clock
from core.errors import BadRecord, Permanent, Transient, Unreachable
from core.frames import BadFrame, ErrorFrame
from core.ports import Directory, HttpAnswer, Identity, SafeHttp
from firehose.download import VettedResolver
from firehose.guard import Guard
from labeler.frames import LabelsFrame, read_frame
from labeler.scrutiny import Fault, Outcome, Weight
from labeler.verifier import MAX_SEQ, Issuer, Verifier

SUBSCRIBE, QUERY = "com.atproto.label.subscribeLabels", "com.atproto.label.queryLabels"
CONNECT_SECONDS = 15.0
MAX_MESSAGE_BYTES = 5 * 1024 * 1024  # what any reader may refuse (P78)
MAX_PROBE_SECONDS = 1.5  # that nothing comes is what two of the probes hope for
PAGE = 250
NOBODY = "did:web:nobody.invalid"


class Verifying:
    """One labeler, named by its DID or by the host that serves it."""

    def __init__(self, http: SafeHttp, directory: Directory, guard: Guard, *, clock: Clock, user_agent: str) -> None:
        self._http, self._directory, self._guard = http, directory, guard
        self._clock = clock
        self._headers = {"User-Agent": user_agent}

    async def verify(self, who: str, *, limit: int, idle_seconds: float) -> Outcome:
        """Reads the stream from its beginning until it says nothing for so long or `limit` labels are read.

        Raises BadRecord when there is nothing to verify, UnknownDid, UnsafeHost, Unreachable, RateLimited.
        """
        identity, endpoint = await self._find(who)
        outcome = Outcome(identity.did, endpoint)
        if identity.label_key is None:
            outcome.note(Fault("P40", "the DID document has no key #atproto_label: nothing can be verified"))
            return outcome
        issuer = Issuer(identity.did, identity.label_key, directory=self._directory, clock=self._clock)
        verifier = Verifier(issuer, clock=self._clock)
        await self._read_all(verifier, outcome, limit=limit, idle_seconds=idle_seconds)
        if outcome.complete:
            await self._compare(verifier, outcome, limit=limit, idle_seconds=idle_seconds)
        await self._probe(outcome, idle_seconds)
        return outcome

    # --- who and where --------------------------------------------------------------------------------------

    async def _find(self, who: str) -> tuple[Identity, str]:
        """A host is asked for one label, whose issuer's DID document has to name that host (P83)."""
        if who.startswith("did:"):
            identity = await self._directory.resolve(who, refresh=True)
            endpoint = identity.services.get("atproto_labeler")
            if endpoint is None:
                raise BadRecord(f"the DID document of {who} names no #atproto_labeler service")
            return identity, endpoint.rstrip("/")
        endpoint = who.rstrip("/") if "://" in who else f"https://{who.rstrip('/')}"
        rows = (await self._query(endpoint, {"uriPatterns": "*", "limit": "1"}))[0]
        if not rows:
            raise BadRecord(f"{endpoint} serves no labels yet; name the labeler by its DID")
        identity = await self._directory.resolve(str(rows[0].get("src")), refresh=True)
        named = identity.services.get("atproto_labeler", "").rstrip("/")
        if named != endpoint:
            raise BadRecord(f"{endpoint} serves labels of {identity.did}, whose DID document names {named or 'no one'}")
        return identity, endpoint

    # --- the stream -----------------------------------------------------------------------------------------

    async def _read_all(self, verifier: Verifier, outcome: Outcome, *, limit: int, idle_seconds: float) -> None:
        """From where the verifier stands until the stream is silent, or so many labels or frames were read."""
        from_seq, read = verifier.seq, 0
        async with aclosing(self.frames(outcome.endpoint, str(from_seq), idle_seconds=idle_seconds)) as frames:
            async for frame in frames:
                if max(verifier.labels, read) >= limit:
                    outcome.complete = False
                    break
                read += 1
                if isinstance(frame, str):
                    outcome.note(Fault("P63", "a text frame"))
                    continue
                if from_seq and verifier.seq == from_seq and _number(frame) == from_seq:
                    continue  # P69: the written specification has it so, and readers take it
                try:
                    outcome.note(*await verifier.read(frame))
                except ErrorFrame as error:
                    outcome.note(Fault("P70", f"the stream ends with {error}"))
                    break
        outcome.events, outcome.labels = verifier.frames, verifier.labels
        outcome.gaps, outcome.newest = verifier.gaps, verifier.seq

    async def frames(self, endpoint: str, cursor: str | None, *, idle_seconds: float) -> AsyncGenerator[bytes | str]:
        """Until the stream is silent for so long or closed. Raises Unreachable, UnsafeHost."""
        async with self._socket(endpoint, cursor) as socket:
            while True:
                try:
                    message = await asyncio.wait_for(socket.receive(), idle_seconds)
                except TimeoutError:
                    return
                if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    return
                yield message.data

    @asynccontextmanager
    async def _socket(self, endpoint: str, cursor: str | None) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"{endpoint}/xrpc/{SUBSCRIBE}"
        self._guard.check(url)
        connector = aiohttp.TCPConnector(resolver=VettedResolver(self._guard), use_dns_cache=False)
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(_refuse_redirect)  # aiohttp follows them for a websocket, unasked
        async with aiohttp.ClientSession(
            connector=connector, headers=self._headers, trust_env=False, trace_configs=[tracing]
        ) as session:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    socket = await session.ws_connect(
                        url,
                        params={} if cursor is None else {"cursor": cursor},
                        max_msg_size=MAX_MESSAGE_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                    )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unreachable(f"{url}: {type(error).__name__} {error}"[:300]) from None
            async with socket:
                yield socket

    # --- queryLabels ----------------------------------------------------------------------------------------

    async def _compare(self, verifier: Verifier, outcome: Outcome, *, limit: int, idle_seconds: float) -> None:
        """All that queryLabels gives, page by page, against the stream as it is when that has been read."""
        asked_at, rows, cursor = verifier.seq, list[Mapping[str, Any]](), ""
        while len(rows) <= outcome.labels + PAGE:
            params = {"uriPatterns": "*", "limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            page, following = await self._query(outcome.endpoint, params)
            rows += page
            if not page or not following or following == cursor:  # P56: others do not end as we do
                break
            cursor = following
        await self._read_all(verifier, outcome, limit=limit, idle_seconds=idle_seconds)
        outcome.compared = len(rows)
        outcome.note(*await verifier.compare(rows, asked_at_seq=asked_at))
        foreign, _ = await self._query(outcome.endpoint, {"uriPatterns": "*", "sources": NOBODY})
        if foreign:
            outcome.note(Fault("P57", "queryLabels ignores `sources`"))

    async def _query(self, endpoint: str, params: Mapping[str, str]) -> tuple[list[Mapping[str, Any]], str]:
        """Rows and the next cursor. Raises Unreachable for what is no answer of this method."""
        answer = await self._get(endpoint, QUERY, params)
        try:
            said = orjson.loads(answer.body)
            rows, cursor = said["labels"], said.get("cursor", "")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            rows, cursor = None, ""
        if answer.status != 200 or not isinstance(rows, list) or not isinstance(cursor, str):
            raise Unreachable(f"{answer.url} answers {answer.status}, which is no list of labels")
        if not all(isinstance(row, dict) for row in rows):
            raise Unreachable(f"{answer.url} lists what is no label")
        return rows, cursor

    async def _get(self, endpoint: str, method: str, params: Mapping[str, str]) -> HttpAnswer:
        return await self._http.get(f"{endpoint}/xrpc/{method}", params=params, max_bytes=2 * MAX_MESSAGE_BYTES)

    # --- cursors --------------------------------------------------------------------------------------------

    async def _probe(self, outcome: Outcome, idle_seconds: float) -> None:
        """What a reader with an odd cursor is told (P68, P69, P71, P73, P79)."""
        endpoint, newest, idle_seconds = outcome.endpoint, outcome.newest, min(idle_seconds, MAX_PROBE_SECONDS)
        if newest and outcome.complete:
            again = await self._first(endpoint, str(newest - 1), idle_seconds)
            if not isinstance(again, LabelsFrame) or again.seq < newest:
                outcome.note(Fault("P69", f"cursor {newest - 1} does not go on with event {newest}"))
            after = await self._first(endpoint, str(newest), idle_seconds)
            if isinstance(after, LabelsFrame) and after.seq <= newest:
                outcome.note(Fault("P69", f"cursor {newest} sends event {after.seq} again", Weight.ODD))
            live = await self._first(endpoint, None, idle_seconds)
            if isinstance(live, LabelsFrame) and live.seq <= newest:
                outcome.note(Fault("P68", "without a cursor it sends history"))
        future = await self._first(endpoint, str(MAX_SEQ), idle_seconds)
        if future != "FutureCursor":
            outcome.note(Fault("P71", "a cursor in the future is not answered with FutureCursor"))
        wrong = await self._first(endpoint, "none", idle_seconds)
        if isinstance(wrong, LabelsFrame):
            outcome.note(Fault("P73", "a cursor that is no number is taken for one"))
        try:
            plain = (await self._get(endpoint, SUBSCRIBE, {})).status
        except (Permanent, Transient):
            plain = 0
        if not 400 <= plain < 500:
            outcome.note(Fault("P79", "a request that is no websocket's is not refused", Weight.ODD))

    async def _first(self, endpoint: str, cursor: str | None, idle_seconds: float) -> object:
        """What comes first: a frame as it is read, the name of an error, or None when nothing did or it was refused."""
        try:
            async with aclosing(self.frames(endpoint, cursor, idle_seconds=idle_seconds)) as frames:
                frame = await anext(frames, None)
            return read_frame(frame) if isinstance(frame, bytes) else None
        except ErrorFrame as error:
            return error.name
        except (BadFrame, Unreachable):
            return None


async def _refuse_redirect(*_: object) -> None:
    """Nobody vetted where it points, and the labeler has to answer where its DID document says (P97, P206)."""
    raise aiohttp.ClientError("redirects")


def _number(frame: bytes) -> int | None:
    """The number of an event that can be read."""
    try:
        read = read_frame(frame)
    except (BadFrame, ErrorFrame):
        return None
    return read.seq if isinstance(read, LabelsFrame) else None
