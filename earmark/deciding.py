"""From what was heard to what is stored: the verdict on a track and its vectors, in each generation that heard it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from core.analysis import Analysis, Ruling, Verdict, VerdictStatus
from core.mime import contradiction
from core.types import TrackState, Visibility
from store import Reader, Tx, analyses, labels, rulings, tracks
from store.generations import Generation
from store.tracks import StoredTrack

Judge = Callable[[Analysis, StoredTrack, tuple[str, ...], Ruling], Verdict]

_STATES = {
    VerdictStatus.OK: TrackState.READY,
    VerdictStatus.UNDECIDED: TrackState.UNDECIDED,
    VerdictStatus.REFUSED: TrackState.REFUSED,
    VerdictStatus.WITHDRAWN: TrackState.WITHDRAWN,
}
_DECIDED = frozenset({TrackState.READY, TrackState.UNDECIDED, TrackState.REFUSED})


@dataclass(frozen=True, slots=True)
class Decision:
    """What one generation says of a track. `fresh`: its analysis is not in the store yet."""

    generation: str
    analysis: Analysis
    verdict: Verdict
    fresh: bool


async def decide(
    r: Reader, stored: StoredTrack, heard: Analysis | None, judge: Judge, among: Iterable[Generation]
) -> list[Decision]:
    """The decisions of those generations that heard the audio, now (`heard`) or before, in their order."""
    audio_key = stored.track.audio_key
    if audio_key is None:
        return []
    previous = await previous_labels(r, stored)
    ruling = await rulings.of(r, str(stored.track.uri))
    decisions = []
    for generation in among:
        fresh = generation.part_of(heard) if heard is not None else None
        analysis = fresh or await analyses.get(r, audio_key, generation.name)
        if analysis is not None:
            verdict = replace(judge(analysis, stored, previous, ruling), notes=_notes(stored, analysis))
            decisions.append(Decision(generation.name, analysis, verdict, fresh is not None))
    return decisions


async def previous_labels(r: Reader, stored: StoredTrack) -> tuple[str, ...]:
    """What is live by hysteresis: labels that this very audio got. New audio starts afresh."""
    last = await labels.get_verdict(r, str(stored.track.uri))
    return last.verdict.labels if last is not None and last.audio_key == stored.track.audio_key else ()


async def heard_verdict(r: Reader, stored: StoredTrack) -> Verdict | None:
    """What is said of a track now, if that was decided by hearing the very audio that its record names."""
    found = await labels.get_verdict(r, str(stored.track.uri))
    if found is None or found.generation is None or found.audio_key != stored.track.audio_key:
        return None
    return found.verdict


async def may_decide_anew(r: Reader, stored: StoredTrack) -> bool:
    """Whether a track that was decided by hearing may get another verdict without a job: it is not on its way (the
    worker decides then), and has not been deleted, gated or hidden.
    """
    shown = stored.state in _DECIDED and not stored.track.gated and stored.visibility is not Visibility.HIDDEN
    return shown and await heard_verdict(r, stored) is not None


async def keep(tx: Tx, stored: StoredTrack, decision: Decision, *, now_us: int) -> None:
    """Store the analysis if it is fresh, and the vectors if feeds may show the track by how it sounds; else take them
    away. What is labelled as no music keeps them too: field recordings have a place in feeds for sleep.
    """
    if decision.fresh:
        assert stored.track.audio_key is not None
        await analyses.put(tx, stored.track.audio_key, decision.analysis, now_us=now_us)
    if decision.verdict.rankable or decision.verdict.labels:
        await analyses.put_vectors(tx, stored.track_id, decision.generation, decision.analysis.vectors)
    else:
        await analyses.drop_vectors(tx, stored.track_id, decision.generation)


async def settle(tx: Tx, stored: StoredTrack, decision: Decision, *, now_us: int) -> None:
    """Make this decision the verdict on the track."""
    grounds = {"audio_key": stored.track.audio_key, "generation": decision.generation}
    await _put(tx, str(stored.track.uri), decision.verdict, now_us, **grounds)


async def confirm(tx: Tx, stored: StoredTrack, verdict: Verdict, *, now_us: int) -> None:
    """The verdict stands: the track is where it says, whatever it was on its way to."""
    await tracks.set_state(tx, str(stored.track.uri), _STATES[verdict.status], verdict.reason, now_us=now_us)


async def refuse(tx: Tx, uri: str, reason: str, *, now_us: int) -> None:
    """A verdict for which nothing was heard: no labels, and no place in any feed."""
    await _put(tx, uri, Verdict(VerdictStatus.REFUSED, reason=reason), now_us)
    stored = await tracks.get(tx, uri)
    if stored is not None:
        await analyses.drop_vectors(tx, stored.track_id)


async def _put(tx: Tx, uri: str, verdict: Verdict, now_us: int, **grounds: str | None) -> None:
    await tracks.set_state(tx, uri, _STATES[verdict.status], verdict.reason, now_us=now_us)
    await labels.put_verdict(tx, uri, verdict, now_us=now_us, **grounds)


def _notes(stored: StoredTrack, analysis: Analysis) -> tuple[str, ...]:
    """What was odd about the audio: the decoder's warnings, and a declared type that the bytes contradict."""
    blob = stored.track.blob
    lie = contradiction(blob.mime, analysis.container) if blob is not None else None
    return (*analysis.warnings, lie) if lie else analysis.warnings
