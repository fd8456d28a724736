"""A session with the PDS of an account that is ours: what a password opens, over XRPC.

Nothing here shows or keeps a secret: passwords, codes and tokens go into the one request that needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from core.errors import Permanent, RateLimited, Unreachable
from core.types import Did
from firehose.guard import Guard

TIMEOUT_SECONDS = 30.0  # a directory stands behind some of the answers
MAX_ANSWER_BYTES = 1024 * 1024


class Refused(Permanent):
    """The PDS said no. `name` is the error's name on the wire."""

    def __init__(self, host: str, nsid: str, name: str, message: str) -> None:
        super().__init__(f"{host} refuses {nsid}: {message or name}")
        self.name = name


class Session:
    """Signed in once, then asked."""

    def __init__(self, client: httpx.AsyncClient, pds: str) -> None:
        self._client, self._pds = client, pds
        self._host = urlsplit(pds).netloc
        self._token = ""

    async def sign_in(self, did: Did, password: str, *, code: str = "") -> None:
        """With the main password or an app password, and the code from the mail if the account wants one.

        Raises Refused (`AuthFactorTokenRequired` without the code), Unreachable, RateLimited.
        """
        body = {"identifier": did, "password": password} | ({"authFactorToken": code} if code else {})
        made = await self.call("com.atproto.server.createSession", body)
        if made.get("did") != did or not isinstance(made.get("accessJwt"), str):
            raise Refused(self._host, "createSession", "NotThisAccount", f"it signed us in as {made.get('did')!r:.100}")
        self._token = made["accessJwt"]

    async def call(self, nsid: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A procedure. Raises Refused, Unreachable, RateLimited."""
        return await self._post(nsid, None if body is None else orjson.dumps(body), "application/json")

    async def upload(self, content: bytes, mime: str) -> dict[str, Any]:
        """The reference for a blob, to be put into a record within the hour. Raises what `call` raises."""
        blob = (await self._post("com.atproto.repo.uploadBlob", content, mime)).get("blob")
        if not isinstance(blob, dict):
            raise Unreachable(f"{self._host} took an upload and names no blob")
        return blob

    async def _post(self, nsid: str, content: bytes | None, mime: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if content is not None:
            headers["Content-Type"] = mime
        url = f"{self._pds}/xrpc/{nsid}"
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream("POST", url, content=content, headers=headers) as response,
            ):
                answer = bytearray()
                async for chunk in response.aiter_bytes():
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise Unreachable(f"{self._host} answers {nsid} with more than {MAX_ANSWER_BYTES} bytes")
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unreachable(f"{self._host} does not answer {nsid}: {type(error).__name__}") from None
        return self._read(nsid, response.status_code, bytes(answer))

    def _read(self, nsid: str, status: int, answer: bytes) -> dict[str, Any]:
        try:
            said = orjson.loads(answer) if answer else {}
        except orjson.JSONDecodeError:
            said = None
        if status == 200 and isinstance(said, dict):
            return said
        if status == 429:
            raise RateLimited(f"{self._host} wants us to ask {nsid} later")
        if status >= 500 or not isinstance(said, dict) or status < 400:
            raise Unreachable(f"{self._host} answers {nsid} with status {status}")
        raise Refused(self._host, nsid, str(said.get("error"))[:100], str(said.get("message") or "")[:300])


@asynccontextmanager
async def open_session(pds: str, *, guard: Guard, user_agent: str) -> AsyncIterator[Session]:
    """Not signed in yet. `pds` is the origin that the account's own DID document names. Raises UnsafeHost."""
    guard.check(pds)
    async with httpx.AsyncClient(
        headers={"User-Agent": user_agent}, follow_redirects=False, trust_env=False, timeout=TIMEOUT_SECONDS
    ) as client:
        yield Session(client, pds)
