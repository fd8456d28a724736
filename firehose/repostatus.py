"""What an account's own host says of it when we ask: for when we are in doubt (P153, P156)."""

from __future__ import annotations

from typing import Any

import orjson

from core.errors import AccountAway, Tombstoned, UnknownDid, Unreachable
from core.ports import Directory, SafeHttp
from core.types import Account, Did
from firehose.accounts import DELETED
from firehose.answers import check_answer

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 64 * 1024


class RepoStatus:
    """Asks `com.atproto.sync.getRepoStatus` of the host that a fresh DID document names."""

    def __init__(self, http: SafeHttp, directory: Directory) -> None:
        self._http = http
        self._directory = directory

    async def ask(self, did: Did) -> Account:
        """What becomes of the account now. A did:plc that was given up is deleted (P156); one that its own host does
        not know is away: the host may have lost it.

        Raises UnknownDid, UnsafeHost, Unreachable, RateLimited: then the last status stands.
        """
        try:
            identity = await self._directory.resolve(did, refresh=True)
        except Tombstoned:
            return Account(did, active=False, status=DELETED)
        if identity.pds is None:
            raise UnknownDid(f"{did} names no PDS")
        url = f"{identity.pds}/xrpc/com.atproto.sync.getRepoStatus"
        answer = await self._http.get(url, params={"did": did}, max_bytes=MAX_BYTES, timeout_seconds=TIMEOUT_SECONDS)
        try:
            return _read(did, check_answer(answer))
        except AccountAway as error:
            return Account(did, active=False, status=error.status)


def _read(did: Did, body: bytes) -> Account:
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict) or said.get("did") != did or not isinstance(said.get("active"), bool):
        raise Unreachable(f"{did}: its host does not say whether it is active")
    status = said.get("status")
    return Account(did, said["active"], status[:64] if isinstance(status, str) else None)
