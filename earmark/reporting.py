"""What a report does. An artist's word on a record of their own counts at once; everybody's waits for an operator."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

from core.clock import Clock
from core.config import Settings
from core.errors import StoreBusy, XrpcError
from core.log import Log
from core.taxonomy import Taxonomy
from core.types import Did
from earmark.deciding import Judge
from earmark.disputing import apply_ruling
from firehose.control import take_wish
from firehose.mapping import load_mapping
from labeler.disputes import Said, understand
from labeler.reports import Receipt, Report
from labeler.vocabulary import POST_COLLECTION, subject_collections
from store import Store, Tx, actions, disputes, labels, links, mirrors, tracks, wishes
from store.actions import ActorKind
from store.disputes import DisputeState, NewDispute
from store.tracks import StoredTrack
from store.wishes import Scope

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
ERASE_SECONDS = 3600.0  # how often words and senders whose time is over are erased
_VERBS = {Scope.NONE: "artist.opt_in", Scope.FEEDS: "artist.opt_out_of_feeds", Scope.ALL: "artist.opt_out"}


class Reporting:
    """Implements labeler.reports.Desk: each report is one transaction, from the ruling to the verdict.

    P95's one pending appeal an account is not asked for: ours are about a track each and count at once, so a second one
    corrects the first. `reports.per_hour` bounds their number.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        src: Did,
        taxonomy: Taxonomy,
        judge: Judge,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._settings = settings.reports
        self._src = src
        music = load_mapping(settings.source.mapping, only=frozenset(settings.source.collections) or None)
        self._collections = frozenset(subject_collections(music))
        self._taxonomy = taxonomy
        self._judge = judge
        self._clock = clock
        self._log = log

    async def take(self, report: Report) -> Receipt:
        """See Desk.take. Raises XrpcError InvalidRequest, UnknownTrack, Forbidden (P95), RateLimitExceeded (P96)."""
        now_us = self._clock.now_us()
        said = understand(report.words, self._taxonomy)
        async with self._store.write() as tx:
            track = await self._track_of(tx, report)
            by_artist = track is not None and track.track.did == report.reporter
            wish = said.wish if by_artist or report.subject.did == report.reporter else None
            if wish is None:
                track = self._checked(report, track)
            elif not by_artist:  # any record of one's own will do, whatever it stands for
                track, by_artist = None, True
            digest = _digest(report, now_us)
            before = await disputes.same(tx, digest)
            if before is None:
                await self._keep_rate(tx, report.reporter, now_us, wishing=wish is not None)
            if wish is not None:
                await self._fulfil(tx, report.reporter, wish, now_us)
            if before is not None:
                return Receipt(before.dispute_id, before.created_us)
            number = await self._file(tx, report, track, said, digest, now_us, wish=wish, by_artist=by_artist)
        self._log.info("a report", number=number, by_artist=by_artist, wish=wish and wish.value)
        return Receipt(number, now_us)

    async def erase_old(self) -> None:
        """A role: words and senders go when their time is over. Ends by cancellation only."""
        while True:
            before_us = self._clock.now_us() - self._settings.retention_days * DAY_US
            with contextlib.suppress(StoreBusy):  # the next round makes up for it
                async with self._store.write() as tx:
                    erased = await disputes.erase(tx, before_us=before_us)
                if erased:
                    self._log.info("old reports were made anonymous", reports=erased)
            await asyncio.sleep(ERASE_SECONDS)

    async def _track_of(self, tx: Tx, report: Report) -> StoredTrack | None:
        """The track that is named, or that the named post stands for: of several that claim it, the reporter's own."""
        uri = str(report.subject)
        if report.subject.collection != POST_COLLECTION:
            return await tracks.get(tx, uri)
        carried = await mirrors.track_of(tx, uri)
        found = [carried] if carried is not None else await links.tracks_of(tx, uri)
        own = [one for one in found if one.startswith(f"at://{report.reporter}/")]
        chosen = own if len(own) == 1 else found
        return await tracks.get(tx, chosen[0]) if len(chosen) == 1 else None

    def _checked(self, report: Report, track: StoredTrack | None) -> StoredTrack:
        """The track, if this is a report that we take."""
        collection = report.subject.collection
        if collection not in self._collections:
            raise XrpcError("InvalidRequest", f"we take no reports on {collection}")
        if track is None:
            raise XrpcError(
                "UnknownTrack", "this is no track that we know, nor a post that shares one and nothing else"
            )
        if report.is_appeal and report.reporter not in (track.track.did, report.subject.did):
            raise XrpcError(
                "Forbidden", "only the account that it belongs to may appeal; report it as other", status=403
            )
        return track

    async def _keep_rate(self, tx: Tx, reporter: Did, now_us: int, *, wishing: bool) -> None:
        """Wishes have as much room again: who disputes a whole album must still be able to leave."""
        sent = await disputes.sent_since(tx, reporter, now_us - HOUR_US)
        if sent >= self._settings.per_hour * (2 if wishing else 1):
            raise XrpcError("RateLimitExceeded", "too many reports in an hour; come back later", status=429)

    async def _fulfil(self, tx: Tx, did: Did, wish: Scope, now_us: int) -> None:
        """An opt-out, or the end of one, for the whole account. Only an opt-in gives up what was asked for before."""
        before, asked = await wishes.of(tx, did), wishes.in_report(did, wish, now_us=now_us)
        if wish is Scope.FEEDS and await wishes.said(tx, asked.uri) is Scope.ALL:
            return
        await take_wish(tx, asked, now_us=now_us, log=self._log)
        if await wishes.of(tx, did) == before:
            return
        await actions.note(tx, at_us=now_us, actor_kind=ActorKind.ARTIST, actor=did, verb=_VERBS[wish], did=did)

    async def _file(
        self,
        tx: Tx,
        report: Report,
        track: StoredTrack | None,
        said: Said,
        digest: str,
        now_us: int,
        *,
        wish: Scope | None,
        by_artist: bool,
    ) -> int:
        """Store the report; from its artist it is in force before anybody has looked at it."""
        uri = str(track.track.uri if track is not None else report.subject)
        live = await self._live(tx, uri)
        if wish is None:
            said = understand(report.words, self._taxonomy, live=live)
        ruling = said.of_labels(live)
        number = await disputes.add(
            tx,
            NewDispute(
                created_us=now_us,
                state=DisputeState.OPEN if wish is None else DisputeState.DONE,
                reporter=report.reporter,
                by_artist=by_artist,
                uri=uri,
                subject=str(report.subject),
                subject_cid=report.subject_cid,
                reason_type=report.reason_type,
                words=report.words,
                digest=digest,
                labels=live,
                denied=ruling.denied if wish is None else frozenset(),
                stated=ruling.stated if wish is None else (),
            ),
        )
        if wish is None and by_artist:
            changed = await apply_ruling(tx, uri, self._judge, now_us=now_us)
            await actions.note(
                tx,
                at_us=now_us,
                actor_kind=ActorKind.ARTIST,
                actor=report.reporter,
                verb="dispute.open",
                uri=uri,
                detail={"dispute": number, "before": live, **changed},
            )
        return number

    async def _live(self, tx: Tx, uri: str) -> tuple[str, ...]:
        """Labels live on a record, or about to be: what is pending is disputed as well."""
        shown = [row.label.val for row in await labels.live(tx, self._src, uri) if not row.label.neg]
        wanted = await labels.get_verdict(tx, uri)
        return (*dict.fromkeys([*shown, *(wanted.verdict.labels if wanted is not None else ())]),)


def _digest(report: Report, now_us: int) -> str:
    """The same for the same report of one account on one day (P96)."""
    parts = (report.reporter, str(report.subject), report.reason_type, report.words, str(now_us // DAY_US))
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
