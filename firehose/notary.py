"""Which messages of a relay say what their accounts signed, and what follows for repositories that we follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from core.clock import Clock
from core.dagcbor import cid_text, is_cid
from core.errors import Permanent, Transient
from core.log import Log
from core.ports import Directory, Identity
from core.types import Did
from firehose.events import AccountEvent, CommitEvent, DoubtEvent, Event, Interest, RecordEvent, SyncEvent
from firehose.frames import Claim, RepoFrame
from firehose.source import Health
from firehose.verify import BadCommit, SignedCommit, verify_commit, verify_sync


class Notary:
    """A commit that fails its proof is dropped and counted; one whose account cannot be looked up now passes
    unverified, one without a working identity is dropped (P147). Of accounts in `interest.followed` every commit and
    `#sync` is checked, whatever it is about (P145), and one that is not proven is doubt.

    `home` is the origin of the upstream if that is a PDS: it speaks for the accounts that live there now (P148).
    """

    def __init__(
        self,
        interest: Interest,
        directory: Directory,
        *,
        health: Health,
        clock: Clock,
        log: Log,
        home: str | None = None,
    ) -> None:
        self._interest = interest
        self._directory = directory
        self._health = health
        self._clock = clock
        self._log = log
        self._home = None if home is None else _address(home)

    async def attest(self, decoded: RepoFrame) -> tuple[Event, ...]:
        """The frame's events, those of records marked as verified."""
        claim, seq = decoded.claim, decoded.position or 0
        if claim is None or not self._deserves_proof(claim, decoded.events):
            return decoded.events if await self._may_speak(decoded.events) else self._refuse(None, "pds", seq)
        try:
            commit = await self._verify(claim)
        except BadCommit as error:
            # What a former home says of an account that moved is old news, and no doubt.
            return self._refuse(None if error.step == "pds" else claim.did, error.step, seq, reason=str(error))
        except Permanent as error:
            return self._refuse(claim.did, error.reason, seq, reason=str(error))
        except Transient as error:
            self._log.warning("commit passes unverified", did=claim.did, reason=str(error), seq=seq)
            return (*self._doubt(claim.did, "unverified", seq), *decoded.events)
        records = tuple(replace(event, verified=True) for event in decoded.events if isinstance(event, RecordEvent))
        return (*self._link(claim, commit, seq), *records)

    def _deserves_proof(self, claim: Claim, events: Sequence[Event]) -> bool:
        """Not when all that counts are undone records of collections of which few matter: most of those are any
        stranger's, would cost an identity look-up each, and undo nothing of ours but what is our own account's.
        """
        return claim.did in self._interest.followed or any(
            isinstance(event, RecordEvent) and (event.record is not None or not self._interest.sifts(event.collection))
            for event in events
        )

    def _link(self, claim: Claim, commit: SignedCommit, seq: int) -> tuple[Event, ...]:
        """The link in the chain of a repository that we follow (P145)."""
        if claim.did not in self._interest.followed:
            return ()
        data = cid_text(commit.data)
        if claim.kind == "#sync":
            return (SyncEvent(claim.did, commit.rev, data, seq),)
        since, before = claim.message.get("since"), claim.message.get("prevData")
        since, before = since if isinstance(since, str) else None, cid_text(before) if is_cid(before) else None
        return (CommitEvent(claim.did, commit.rev, since, data, before, seq),)

    async def _verify(self, claim: Claim) -> SignedCommit:
        try:
            return self._check(claim, await self._directory.resolve(claim.did))
        except BadCommit as error:
            if error.step not in ("sig", "pds"):
                raise
            return self._check(claim, await self._directory.resolve(claim.did, refresh=True))  # P142: once

    def _check(self, claim: Claim, identity: Identity) -> SignedCommit:
        if not self._is_home_of(identity):
            raise BadCommit("pds", "the account lives elsewhere")
        if identity.signing_key is None:
            raise BadCommit("sig", "the account has no signing key")
        verify = verify_sync if claim.kind == "#sync" else verify_commit
        return verify(claim.message, claim.car, identity.signing_key, now_us=self._clock.now_us())

    async def _may_speak(self, events: Sequence[Event]) -> bool:
        """Whether a status of an account comes from where it lives (P148). Without an answer it is believed.

        A home that was left says that the account is inactive, before anybody says that it moved: so that is asked.
        """
        for event in events:
            if self._home is None or not isinstance(event, AccountEvent):
                continue
            try:
                if event.active and self._is_home_of(await self._directory.resolve(event.did)):
                    continue
                return self._is_home_of(await self._directory.resolve(event.did, refresh=True))
            except (Permanent, Transient):
                return True
        return True

    def _is_home_of(self, identity: Identity) -> bool:
        return self._home is None or (identity.pds is not None and _address(identity.pds) == self._home)

    def _refuse(self, doubtful: Did | None, step: str, seq: int, *, reason: str = "") -> tuple[Event, ...]:
        self._health.refused[step] += 1
        self._log.warning("message refused", step=step, did=doubtful, reason=reason, seq=seq)
        return () if doubtful is None else self._doubt(doubtful, step, seq)

    def _doubt(self, did: Did, step: str, seq: int) -> tuple[Event, ...]:
        return (DoubtEvent(did, step, seq),) if did in self._interest.followed else ()


def _address(origin: str) -> tuple[str | None, int]:
    """Host and port."""
    parsed = urlsplit(origin)
    return parsed.hostname, parsed.port or (443 if parsed.scheme in ("wss", "https") else 80)
