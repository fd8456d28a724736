"""The one client for small documents from outside: vetted and pinned addresses, caps, no redirects (P206)."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from core.clock import Clock
from core.errors import RateLimited, Unreachable
from core.ports import HttpAnswer
from firehose.guard import Guard

CONNECT_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 86_400.0


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

    def __init__(self, guard: Guard, *, clock: Clock, user_agent: str, verify: ssl.SSLContext | bool = True) -> None:
        self._clock = clock
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
        """See SafeHttp.get. 429, and 503 with Retry-After, are RateLimited; redirects are answers like any other."""
        try:
            timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
            request = self._client.build_request("GET", url, params=params, headers=headers, timeout=timeout)
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.send(request, stream=True)
                try:
                    body = await _read(response, max_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Unreachable(f"{url[:200]} did not answer within {timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Unreachable(f"{url[:200]}: {type(error).__name__} {error}"[:400]) from None
        names = {name.lower(): value for name, value in response.headers.items()}
        if response.status_code == 429 or (response.status_code == 503 and "retry-after" in names):
            pause = retry_after_seconds(names.get("retry-after"), now_us=self._clock.now_us())
            raise RateLimited(f"{url[:200]} answered {response.status_code}", retry_after_seconds=pause)
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


def retry_after_seconds(header: str | None, *, now_us: int) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None when absent or nonsense."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = moment.timestamp() - now_us / 1_000_000
        except (ValueError, TypeError, OverflowError):  # hostile dates: zones of years, years of zero
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
