"""The one client for small documents from outside: vetted and pinned addresses, caps, no redirects (P206)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from core.clock import Clock
from core.errors import Unreachable
from core.ports import HttpAnswer
from firehose.guard import Guard
from firehose.manners import PATIENCE_SECONDS, Manners, Visit

CONNECT_SECONDS = 5.0


class _Pinned(httpx.AsyncBaseTransport):
    """Connects to the addresses that the guard vetted, under the host's name for TLS and HTTP."""

    def __init__(self, guard: Guard, verify: ssl.SSLContext | bool) -> None:
        self._guard = guard
        # No connection is kept: pools know addresses only, and two hosts may share one.
        limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits, retries=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        origin = self._guard.check(str(request.url))
        failure: httpx.TransportError | None = None
        for address in await self._guard.addresses(origin.host):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # Host is the name already
                extensions={**request.extensions, "sni_hostname": origin.host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()


class GuardedHttp:
    """Implements core.ports.SafeHttp on httpx. Close it with `close`."""

    def __init__(
        self,
        guard: Guard,
        *,
        clock: Clock,
        user_agent: str,
        manners: Manners | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._guard = guard
        self._manners = manners or Manners(clock)
        self._client = httpx.AsyncClient(
            transport=_Pinned(guard, verify),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity", "Accept": "*/*"},
            follow_redirects=False,
            trust_env=False,
        )

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 512 * 1024,
        timeout_seconds: float = 10.0,
    ) -> HttpAnswer:
        """See SafeHttp.get. 429 and 503 are RateLimited, a host without a free turn Crowded; redirects are answers like
        any other. The time runs from when it is our turn.
        """
        origin = self._guard.check(url)
        async with self._manners.visit(origin, patience_seconds=min(timeout_seconds, PATIENCE_SECONDS)) as visit:
            return await self._ask(visit, url, params, headers, max_bytes, timeout_seconds)

    async def _ask(
        self,
        visit: Visit,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        max_bytes: int,
        timeout_seconds: float,
    ) -> HttpAnswer:
        try:
            timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
            request = self._client.build_request("GET", url, params=params, headers=headers, timeout=timeout)
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.send(request, stream=True)
                try:
                    names = {name.lower(): value for name, value in response.headers.items()}
                    visit.heed(response.status_code, names, url)
                    body = await _read(response, max_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Unreachable(f"{url[:200]} did not answer within {timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Unreachable(f"{url[:200]}: {type(error).__name__} {error}"[:400]) from None
        return HttpAnswer(response.status_code, names, body, url)

    async def close(self) -> None:
        await self._client.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise httpx.DecodingError("compressed although asked not to")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise httpx.ReadError(f"more than {max_bytes} bytes")
    return bytes(body)
