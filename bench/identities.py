"""A directory of DIDs that knows the accounts of a recorded stream by heart: benches prove, they do not look up."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import UnknownDid
from core.keys import PublicKey
from core.ports import Identity
from core.types import Did


class Known:
    """See core.ports.Directory."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys`: DID to did:key."""
        self._identities = {
            did: Identity(Did(did), pds="https://pds.example.com", signing_key=PublicKey.from_did_key(key))
            for did, key in keys.items()
        }

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        try:
            return self._identities[did]
        except KeyError:
            raise UnknownDid(did) from None

    def forget(self, did: str) -> None:
        pass
