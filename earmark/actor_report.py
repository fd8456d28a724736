"""The method `getActorReport`: what we know of an account, to everybody what is public, to the account itself all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.clock import Clock
from core.errors import XrpcError
from core.ports import Directory
from core.serviceauth import bearer, check, keys_of, verify
from core.types import Did, parse_did
from core.xrpc import Call, Param, Query
from earmark.dossier import Dossier
from earmark.dossier_place import Place
from store import Store
from store.feedback import viewer_key

SERVICE_FRAGMENT = "#atproto_labeler"
MAX_LIMIT = 50


class ActorReports:
    """Answers with pages of a Dossier. The method's name begins with `authority`; feeds hash viewers with `secret`."""

    def __init__(
        self, store: Store, *, src: Did, authority: str, secret: bytes, directory: Directory, clock: Clock
    ) -> None:
        self._store, self._src, self._secret = store, src, secret
        self._audiences = (src, src + SERVICE_FRAGMENT)  # P117
        self._directory, self._clock = directory, clock
        self.method = Query(
            f"{authority}.getActorReport",
            self.get_actor_report,
            (
                Param("actor", required=True),
                Param("limit", "integer", default=20, minimum=1, maximum=MAX_LIMIT),
                Param("cursor"),
            ),
        )

    async def get_actor_report(self, call: Call) -> Mapping[str, Any]:
        """One page. Raises XrpcError InvalidRequest, and those of P126 for a token that cannot be believed."""
        try:
            did = parse_did(call.params["actor"])
        except ValueError:
            raise XrpcError("InvalidRequest", "actor must be a DID") from None
        place = Place.parse(call.params["cursor"])
        complete = await self._is_by(did, call.headers)
        async with self._store.read() as reader:
            viewer = viewer_key(did, self._secret)
            return await Dossier(reader, did, self._src, complete, call.params["limit"], viewer=viewer).tell(place)

    async def _is_by(self, did: Did, headers: Mapping[str, str]) -> bool:
        """Whether the account itself asks. A key is looked up for its own token only (P124): that of a stranger is
        judged as far as that needs no network, and shows what everybody sees.
        """
        token = bearer(headers)
        if token is None:
            return False
        now_us = self._clock.now_us()
        if check(token, audiences=self._audiences, method=self.method.nsid, now_us=now_us).claims.iss != did:
            return False
        await verify(
            token,
            audiences=self._audiences,
            method=self.method.nsid,
            now_us=now_us,
            resolve_key=keys_of(self._directory),
        )
        return True
