"""The state of the test network, as its handlers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from core.types import AtUri, Cid, Did
from earmark.demo.account import DemoAccount

VisibilityWord = Literal["public", "unlisted", "supporters", "private"]
TRACK_COLLECTION = "fm.plyr.track"


@dataclass(slots=True)
class Switches:
    """Ways in which a test makes the network nasty."""

    pds_down: bool = False  # every method answers 502, as the proxy before it does
    directory_down: bool = False
    visibility_down: bool = False
    pds_delay_seconds: float = 0.0  # every method takes so long
    blob_delay_seconds: float = 0.0


@dataclass(slots=True)
class World:
    """Who is there, what they have, and what is wrong on purpose."""

    url: str = ""  # origin once the server listens
    accounts: dict[Did, DemoAccount] = field(default_factory=dict)
    switches: Switches = field(default_factory=Switches)
    corrupted_blobs: dict[Cid, bytes] = field(default_factory=dict)  # served instead of the right bytes
    removed_blobs: set[Cid] = field(default_factory=set)
    visibility: dict[str, VisibilityWord] = field(default_factory=dict)  # what artists chose, by track uri
    track_numbers: dict[str, int] = field(default_factory=dict)

    def find_account(self, name: str) -> DemoAccount | None:
        """By DID or by handle."""
        by_did = self.accounts.get(Did(name))
        return by_did or next((one for one in self.accounts.values() if one.handle == name.lower()), None)

    def find_track(self, uri: str) -> tuple[int, VisibilityWord] | None:
        """Number and visibility of a track that exists. A gate in the record means supporters only."""
        try:
            address = AtUri.parse(uri)
        except ValueError:
            return None
        account = self.accounts.get(address.did)
        if account is None or address.collection != TRACK_COLLECTION:
            return None
        record = account.repo.records.get(f"{address.collection}/{address.rkey}")
        if record is None:
            return None
        number = self.track_numbers.setdefault(uri, len(self.track_numbers) + 1)
        return number, self.visibility.get(uri, "supporters" if "supportGate" in record.value else "public")
