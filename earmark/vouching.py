"""Before anything is said of a track: is its account there, is its artist willing, is its record proven?

What an account's host answers goes into the store by the road of live events (firehose.apply). A record that is gone,
or another one by now, is dealt with there: the job of the version that was asked about has ended when we come back.
"""

from __future__ import annotations

from collections.abc import Collection

from core.clock import Clock
from core.errors import AccountAway, OptedOut, UnknownDid, Unreachable, Withdrawn
from core.ports import Proven, Prover
from core.types import Account, AtUri, Did, Nsid, Track
from firehose.accounts import COMES_BACK
from firehose.apply import Applier
from firehose.control import PROFILE, SELF
from firehose.events import AccountEvent, Event, Operation, RecordEvent
from firehose.repostatus import RepoStatus
from store import Store, accounts, tracks, wishes
from store.tracks import StoredTrack
from store.wishes import Scope

AWAY_SECONDS = 3600.0  # how soon to look again after an account that is away
SOURCE = "asked"  # where these events come from, in counters


class Vouching:
    """Asks accounts' hosts what nobody has told us, or told us without proof.

    `control`: collections in which an artist says what is to be done with the tracks, the profile among them.
    """

    def __init__(
        self,
        store: Store,
        *,
        prover: Prover,
        repo_status: RepoStatus,
        applier: Applier,
        control: Collection[str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._prover = prover
        self._repo_status = repo_status
        self._applier = applier
        self._control = frozenset(control)
        self._clock = clock

    async def vouch(self, stored: StoredTrack) -> None:
        """Returns if something may be said of this version of the track.

        Raises AccountAway, OptedOut, Unproven, UnknownDid, UnsafeHost, Unreachable, RateLimited, and Withdrawn when the
        record is another one by now, or none.
        """
        did = stored.track.did
        if not stored.account_active:
            await self.check_account(did)
        try:
            await self._ask_artist(did)
            if not stored.track.verified:
                await self._prove(stored.track)
        except (AccountAway, UnknownDid):
            await self.check_account(did)
            raise

    async def check_account(self, did: Did) -> None:
        """Ask the account's host, and keep what it says (P153), unless somebody else took the account down. Raises
        AccountAway when it is not active.
        """
        account = await self._account(did)
        if account.active or account.status in COMES_BACK:
            said = await self._repo_status.ask(did)
            await self._apply(AccountEvent(did, said.active, said.status, position=0))
            account = await self._account(did)
        if not account.active:
            raise AccountAway(f"{did} is {account.status or 'not active'}", retry_after_seconds=AWAY_SECONDS)

    async def _account(self, did: Did) -> Account:
        async with self._store.read() as reader:
            return await accounts.get(reader, did)

    async def _ask_artist(self, did: Did) -> None:
        """Profile and opt-outs are fetched once, when we first have to do with the account; later the stream tells."""
        async with self._store.read() as reader:
            known = await wishes.profile_known(reader, did)
        # The profile last: that it is known says that all was asked for.
        for collection in () if known else sorted(self._control, key=lambda name: (name == PROFILE, name)):
            await self._apply(_event(await self._prover.prove(AtUri(did, Nsid(collection), SELF))))
        async with self._store.read() as reader:
            standing = await wishes.of(reader, did)
        if standing.scope is Scope.ALL:
            raise OptedOut(f"{did} does not want labels")

    async def _prove(self, track: Track) -> None:
        """Raises unless the account's signed tree holds this very version (P174)."""
        proven = await self._prover.prove(track.uri)
        if proven.cid == track.cid:
            async with self._store.write() as tx:
                same = await tracks.verify(tx, str(track.uri), track.cid)
            if same:
                return
        elif proven.rev < track.rev:
            raise Unreachable(f"{track.uri}: its host is behind, at {proven.rev}")
        else:
            await self._apply(_event(proven))
        raise Withdrawn(f"{track.uri} is not what it was")

    async def _apply(self, event: Event) -> None:
        async with self._store.write() as tx:
            await self._applier.apply(tx, (event,), now_us=self._clock.now_us())
        self._applier.note((event,), SOURCE)


def _event(proven: Proven) -> RecordEvent:
    """What a proof says of a record, present or absent, as the stream would have told it."""
    uri = proven.uri
    operation = Operation.DELETE if proven.cid is None else Operation.UPDATE
    return RecordEvent(
        uri.did, uri.collection, uri.rkey, proven.rev, operation, proven.cid, proven.record, position=0, verified=True
    )
