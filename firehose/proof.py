"""One record with the proof that its account signed it, or signed a tree without it (P174)."""

from __future__ import annotations

from typing import Any

import orjson

from core.clock import Clock
from core.dagcbor import cid_text
from core.errors import AccountAway, UnknownDid, Unproven, Unreachable
from core.ports import Directory, HttpAnswer, Identity, Proven, SafeHttp
from core.types import AtUri, Tid, is_tid, tid_microseconds
from firehose.answers import RECORD_NOT_FOUND, check_answer, error_name
from firehose.car import BadCar, read_car
from firehose.events import MAX_BLOCKS_BYTES, MAX_RECORD_BYTES
from firehose.frames import plain_record
from firehose.mst import BadTree, Tree
from firehose.verify import FUTURE_TOLERANCE_US, BadCommit, read_signed_commit

TIMEOUT_SECONDS = 15.0
MAX_HEAD_BYTES = 64 * 1024


class RecordProver:
    """Implements core.ports.Prover by asking the account's own host."""

    def __init__(self, http: SafeHttp, directory: Directory, *, clock: Clock) -> None:
        self._http = http
        self._directory = directory
        self._clock = clock

    async def prove(self, uri: AtUri) -> Proven:
        """See Prover.prove. An answer that does not do is asked for once more if a fresh DID document names another
        host or key (P142): accounts move.
        """
        identity = await self._directory.resolve(uri.did)
        try:
            return await self._ask(uri, identity)
        except (AccountAway, Unproven, Unreachable, UnknownDid):
            fresh = await self._directory.resolve(uri.did, refresh=True)
            if (fresh.pds, fresh.signing_key) == (identity.pds, identity.signing_key):
                raise
            return await self._ask(uri, fresh)

    async def _ask(self, uri: AtUri, identity: Identity) -> Proven:
        answer = await self._get_record(uri, identity)
        if _says_absent(answer):
            # A host that does not prove absence: its word counts (P177), as of a revision that it had before it gave
            # the word again. It could hide the record anyway.
            rev = await self._latest_rev(uri, identity)
            answer = await self._get_record(uri, identity)
            if _says_absent(answer):
                return Proven(uri, rev, None, None)
        return self._read(uri, identity, check_answer(answer))

    async def _get_record(self, uri: AtUri, identity: Identity) -> HttpAnswer:
        params = {"did": uri.did, "collection": uri.collection, "rkey": uri.rkey}
        return await self._http.get(
            f"{_host(identity)}/xrpc/com.atproto.sync.getRecord",
            params=params,
            headers={"Accept": "application/vnd.ipld.car"},
            max_bytes=MAX_BLOCKS_BYTES,
            timeout_seconds=TIMEOUT_SECONDS,
        )

    async def _latest_rev(self, uri: AtUri, identity: Identity) -> Tid:
        answer = await self._http.get(
            f"{_host(identity)}/xrpc/com.atproto.sync.getLatestCommit",
            params={"did": uri.did},
            max_bytes=MAX_HEAD_BYTES,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        try:
            body: Any = orjson.loads(check_answer(answer))
        except orjson.JSONDecodeError:
            body = None
        rev = body.get("rev") if isinstance(body, dict) else None
        if not isinstance(rev, str) or not is_tid(rev):
            raise Unproven(f"{uri}: its host names no revision")
        if tid_microseconds(rev) > self._clock.now_us() + FUTURE_TOLERANCE_US:
            raise Unproven(f"{uri}: its host names a revision in the future")
        return Tid(rev)

    def _read(self, uri: AtUri, identity: Identity, archive: bytes) -> Proven:
        if identity.signing_key is None:
            raise UnknownDid(f"{uri.did} names no signing key")  # P147
        try:
            car = read_car(archive)
            commit = read_signed_commit(car, identity.signing_key, did=uri.did, now_us=self._clock.now_us())
            cid = Tree(car, commit.data).get(f"{uri.collection}/{uri.rkey}".encode())
            if cid is None:
                return Proven(uri, commit.rev, None, None)
            if len(car.block(cid)) > MAX_RECORD_BYTES:
                raise Unproven(f"{uri}: a record is at most 1 MB")
            return Proven(uri, commit.rev, cid_text(cid), plain_record(car, cid))
        except (BadCar, BadCommit, BadTree) as error:
            raise Unproven(f"{uri}: {error}") from None


def _says_absent(answer: HttpAnswer) -> bool:
    """Whether the host says that there is no such record."""
    return answer.status in (400, 404) and error_name(answer) == RECORD_NOT_FOUND


def _host(identity: Identity) -> str:
    if identity.pds is None:
        raise UnknownDid(f"{identity.did} names no PDS")
    return identity.pds
