"""Taking back what was said of records, and what was derived from them (P151, P155)."""

from __future__ import annotations

from core.analysis import Verdict, VerdictStatus
from core.types import TrackState
from store import Tx, analyses, feedback, jobs, labels, links, questions, signals, tracks
from store.tracks import StoredTrack

WITHDRAWN = "withdrawn"
OPTED_OUT = "opted_out"


async def withdraw(tx: Tx, uri: str, rev: str, *, now_us: int) -> bool:
    """A record is gone: a tombstone stays, so that nothing older revives it. False if a newer version is stored."""
    stored = await tracks.get(tx, uri)
    if not await tracks.withdraw(tx, uri, rev, now_us=now_us):
        return False
    await retract(tx, uri, VerdictStatus.WITHDRAWN, WITHDRAWN, now_us=now_us)
    if stored is not None:
        for target in (uri, stored.track.page_url):
            if target is not None:
                await links.drop_target(tx, target)
        await signals.drop_subject(tx, uri)
        await feedback.drop_track(tx, uri)
        await forget_audio(tx, stored)
    await questions.forget(tx, uri)
    return True


async def opt_out(tx: Tx, did: str, *, now_us: int) -> None:
    """An artist does not want to be labelled: of the records only their addresses stay, of all else nothing."""
    known = [stored for stored in await tracks.of_account(tx, did) if stored.state is not TrackState.WITHDRAWN]
    await tracks.blank(tx, did, reason=OPTED_OUT, now_us=now_us)
    for stored in known:
        uri = str(stored.track.uri)
        await jobs.supersede(tx, uri, keep_cid="", now_us=now_us)
        await retract(tx, uri, VerdictStatus.REFUSED, OPTED_OUT, now_us=now_us)
        await forget_audio(tx, stored)


async def retract(tx: Tx, uri: str, status: VerdictStatus, reason: str, *, now_us: int) -> None:
    """No labels and no place in any feed from now on, by the same road as everything else: verdict and vector log."""
    await labels.put_verdict(tx, uri, Verdict(status, reason=reason), now_us=now_us)
    stored = await tracks.get(tx, uri)
    if stored is not None:
        await analyses.drop_vectors(tx, stored.track_id)


async def forget_audio(tx: Tx, stored: StoredTrack) -> None:
    """What was heard in the audio of a version that is stored no more, unless another record names the same audio."""
    if stored.track.audio_key is not None:
        await analyses.forget_unused(tx, stored.track.audio_key)
