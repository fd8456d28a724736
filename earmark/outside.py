"""How this process, service or verb, reaches other hosts: guarded, at a polite pace, under one name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.clock import Clock
from core.config import Settings
from earmark import __version__
from firehose.guard import LOOPBACK_NAMES, Guard
from firehose.identity import DidDirectory
from firehose.manners import Manners
from firehose.safehttp import GuardedHttp


@dataclass(frozen=True, slots=True)
class Outside:
    """To be closed by its `http`."""

    user_agent: str
    guard: Guard
    manners: Manners
    http: GuardedHttp
    directory: DidDirectory


def reach_out(settings: Settings, *, clock: Clock) -> Outside:
    """Opens nothing yet."""
    loopback = settings.development.allow_loopback
    contact = f" (+{settings.service.contact})" if settings.service.contact else ""
    user_agent, guard = f"Earmark/{__version__}{contact}", Guard(allow_loopback=loopback)
    manners = Manners(clock, own=_own_hosts(settings))
    http = GuardedHttp(guard, clock=clock, user_agent=user_agent, manners=manners)
    directory = DidDirectory(http, clock=clock, plc_url=settings.network.plc_url, allow_loopback=loopback)
    return Outside(user_agent, guard, manners, http, directory)


@asynccontextmanager
async def reaching_out(settings: Settings, *, clock: Clock) -> AsyncIterator[Outside]:
    """For one verb."""
    outside = reach_out(settings, clock=clock)
    try:
        yield outside
    finally:
        await outside.http.close()


def _own_hosts(settings: Settings) -> frozenset[str]:
    """Names of hosts that the operator chose to ask, and of this machine."""
    network, chosen = settings.network, settings.linking.constellation_url
    urls = (network.relay_url, network.plc_url, network.plyr_url, chosen)
    return LOOPBACK_NAMES | {host for url in urls if (host := urlsplit(url).hostname)}
