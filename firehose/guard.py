"""Which addresses a stranger may make us call (P205, P206): https, real host names, global unicast, resolved once.

`allow_loopback` is the only way to http or 127.0.0.1, and it opens nothing but the loopback itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import Unreachable, UnsafeHost
from firehose.resolver import Resolver, SystemResolver

_LABEL = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
_RESERVED = frozenset(("local", "localhost", "test", "example", "invalid", "internal", "onion", "arpa", "alt"))
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
MAX_URL_CHARS = 4096
MAX_ADDRESSES = 16
RESOLVE_SECONDS = 5.0

# Ranges that Python's is_global lets through, or that carry an IPv4 address or a tunnel inside (RFC 6890 and others).
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo, ORCHID and other special purposes
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_IPV6_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether this IP address is global unicast; addresses that embed an IPv4 address are judged by it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        embedded = ip.ipv4_mapped
        if embedded is None and ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            ip = embedded
        elif ip not in _IPV6_UNICAST:
            return False
    special = ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_unspecified
    return ip.is_global and not special and not any(ip.version == net.version and ip in net for net in _NOT_PUBLIC)


def is_loopback_host(host: str) -> bool:
    """Whether a host in a URL is one of the three ways to write the loopback."""
    return host.lower() in LOOPBACK_NAMES


def check_host(host: str) -> str:
    """The host name in lower case if it can be on the public internet. Raises UnsafeHost; asks nobody."""
    name = host.lower()
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_LABEL.match(label) for label in labels) or name.endswith("\n"):
        raise UnsafeHost(f"{host[:100]!r} is not a public host name")
    if not labels[-1][0].isalpha():  # 127.1, 0x7f.1, 8.8.8.8: addresses, however written
        raise UnsafeHost(f"{host[:100]!r} is an address, not a host name")
    if labels[-1] in _RESERVED:
        raise UnsafeHost(f"{host[:100]!r} is in a reserved domain")
    return name


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a vetted URL leads."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return self.host if (self.scheme, self.port) == ("https", 443) else f"{self.host}:{self.port}"


def check_url(url: str, *, allow_loopback: bool = False) -> Origin:
    """Syntax, scheme, port and host of a URL from outside. Raises UnsafeHost; asks nobody."""
    try:
        parsed = urlsplit(url)
        host, port = parsed.hostname or "", parsed.port
    except ValueError:
        raise UnsafeHost(f"{url[:100]!r} is not a URL") from None
    if len(url) > MAX_URL_CHARS or not url.isascii() or any(char <= " " or char in '\\"<>^`{|}\x7f' for char in url):
        raise UnsafeHost(f"{url[:100]!r} has characters that do not belong in a URL")
    if "@" in parsed.netloc:
        raise UnsafeHost(f"a URL of {host[:100]!r} carries credentials")
    if allow_loopback and is_loopback_host(host) and parsed.scheme in ("http", "https"):
        return Origin(parsed.scheme, host.lower(), port or (80 if parsed.scheme == "http" else 443))
    if parsed.scheme != "https":
        raise UnsafeHost(f"{url[:100]!r} is not https")
    if port not in (None, 443):
        raise UnsafeHost(f"{url[:100]!r} names a port of its own")
    if parsed.netloc.lower() not in (host, f"{host}:443"):
        raise UnsafeHost(f"{url[:100]!r} has an odd authority")
    return Origin("https", check_host(host), 443)


class Guard:
    """Vets URLs and resolves their hosts once; callers connect to what it returns and to nothing else."""

    def __init__(self, *, allow_loopback: bool = False, resolver: Resolver | None = None) -> None:
        self.allow_loopback = allow_loopback
        self._resolver = resolver or SystemResolver()

    def check(self, url: str) -> Origin:
        """See check_url."""
        return check_url(url, allow_loopback=self.allow_loopback)

    async def addresses(self, host: str) -> list[str]:
        """Vetted addresses of a checked host, IPv4 first. Raises UnsafeHost if any is not public, Unreachable."""
        loopback = self.allow_loopback and is_loopback_host(host)
        if not loopback:
            check_host(host)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._resolver.addresses(host)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise Unreachable(f"{host} does not resolve: {error}") from None
        if not found:
            raise Unreachable(f"{host} has no address")
        unique = sorted(set(found), key=lambda address: (":" in address, found.index(address)))
        for address in unique:
            if not (_is_loopback(address) if loopback else is_public(address)):
                raise UnsafeHost(f"{host} resolves to {address}")
        return unique[:MAX_ADDRESSES]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
