"""How much one client may ask (P199), and who a client is: an address, as the peer or as our own proxy tells it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from core.clock import Clock
from core.errors import XrpcError
from core.sections import Limits as Settings

MAX_CLIENTS = 50_000  # counted in one window, some 10 MB; all further ones share one allowance
_ELSE = "others"


class LimitReached(XrpcError):
    """A client has asked for all that it may in this window."""

    def __init__(self, headers: Mapping[str, str], retry_seconds: int) -> None:
        super().__init__("RateLimitExceeded", f"too many requests; come back in {retry_seconds} s", status=429)
        self.headers = {**headers, "Retry-After": str(retry_seconds)}


@dataclass(slots=True)
class _Window:
    """Aligned to the clock, so that all clients begin anew together and nothing older is remembered."""

    end: int  # seconds since 1970
    asked: dict[str, int]


class Limits:
    """Counts requests by client in windows of fixed length."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._requests = settings.requests
        self._seconds = settings.window_seconds
        self._header = settings.client_header
        self._clock = clock
        self._window = _Window(0, {})
        self._near: dict[str, bool] = {}  # peers, and whether they are on this machine or in a private network

    def client(self, request: web.BaseRequest) -> str | None:
        """Who asks: an address (of IPv6 the network that one customer gets), or None for one of our own machines.

        The proxy's header counts only when one of our own machines sends it: anybody can write one. Its last entry is
        what the proxy itself saw; what stands before it, also in a line of its own, came with the request.
        """
        peer = request.remote or ""
        near = self._near.get(peer)
        if near is None:
            if len(self._near) >= MAX_CLIENTS:
                self._near.clear()
            near = self._near[peer] = _is_near(peer)
        if not near:
            return _customer(peer)
        told = request.headers.getall(self._header, ()) if self._header else ()
        return _customer(told[-1].rpartition(",")[2].strip()) if told else None

    def take(self, client: str | None) -> Mapping[str, str] | None:
        """Count a request; the headers for its answer, None when this client is not limited. Raises LimitReached."""
        if client is None or not self._requests:
            return None
        now = self._clock.now_us() // 1_000_000
        if now >= self._window.end or now < self._window.end - self._seconds:
            self._window = _Window(now - now % self._seconds + self._seconds, {})
        asked = self._window.asked
        if client not in asked and len(asked) >= MAX_CLIENTS:
            client = _ELSE
        count = asked[client] = asked.get(client, 0) + 1
        headers = {
            "RateLimit-Limit": str(self._requests),
            "RateLimit-Remaining": str(max(0, self._requests - count)),
            "RateLimit-Reset": str(self._window.end),
            "RateLimit-Policy": f"{self._requests};w={self._seconds}",
        }
        if count > self._requests:
            raise LimitReached(headers, self._window.end - now)
        return headers


def _is_near(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:  # a socket of this machine
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_private


def _customer(address: str) -> str:
    """IPv4 addresses one by one, of IPv6 the first 64 bits; nonsense is one client."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return "nonsense"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
