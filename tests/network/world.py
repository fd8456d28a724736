"""The servers of one test run, and ways to add to them: a further PDS, an artist, a service that follows."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from core.config import Settings
from core.keys import SigningKey
from earmark.demo import music
from earmark.demo.show import free_port
from tests.network.artist import Artist
from tests.network.following import follow
from tests.network.install import Installed
from tests.network.pds import Pds
from tests.network.plyr import Plyr
from tests.network.process import NodeServer
from tests.network.relay import Relay

Samples = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class World:
    """Directory, the first PDS, plyr's answer. `home` has the model pack; data of all servers lie in `folder`."""

    installed: Installed
    home: Path
    folder: Path
    plc: NodeServer
    plc_url: str
    pds: Pds
    plyr: Plyr
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def sign_up(self, pds: Pds) -> Artist:
        """A new account there."""
        return Artist(pds, await pds.create_account(f"artist{next(self._numbers)}.test"))

    @asynccontextmanager
    async def open_pds(self, name: str, *, port: int | None = None) -> AsyncIterator[Pds]:
        """A further PDS."""
        pds = Pds(self.installed, self.folder / name, port or free_port(0), self.plc_url)
        await pds.server.start()
        try:
            yield pds
        finally:
            await pds.close()

    async def join(self, upstream: Pds | Relay, name: str, *, begin: str = "oldest") -> Settings:
        """Settings of a service that follows this host, and whose DID document names its key and address (P44)."""
        secret = secrets.token_hex(32)
        account = await self.pds.create_account(f"labeler{next(self._numbers)}.test")
        settings = follow(
            self.folder / name,
            home=self.home,
            stream=upstream.stream_url,
            relay=upstream.url if isinstance(upstream, Relay) else "",
            begin=begin,
            plc=self.plc_url,
            plyr=self.plyr.url,
            did=account.did,
            secret=secret,
        )
        now = await self.pds.ask("com.atproto.identity.getRecommendedDidCredentials", by=account)
        services = {"atproto_labeler": "AtprotoLabeler", "bsky_fg": "BskyFeedGenerator"}
        offered = {key: {"type": kind, "endpoint": settings.public_url} for key, kind in services.items()}
        label_key = {"atproto_label": SigningKey.from_hex(secret).public.did_key}
        await self.pds.change_identity(
            account,
            verificationMethods=now["verificationMethods"] | label_key,
            services=now["services"] | offered,
        )
        return settings


def compose(mood: str) -> Samples:
    """Twelve seconds of the demo's piece for this mood."""
    piece = next(piece for piece in music.PIECES if piece.mood == mood)
    return music.compose(piece)[: 12 * 44_100]
