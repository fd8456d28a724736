"""Why a stored track has the labels that it has: the policy run again over the very grounds that the service has."""

from __future__ import annotations

from dataclasses import dataclass

from core.analysis import Ruling, Verdict
from earmark.deciding import may_decide_anew, previous_labels
from labeler.explain import Explanation
from labeler.policy import Policy
from store import Reader, analyses, labels, rulings, tracks
from store.tracks import StoredTrack


@dataclass(frozen=True, slots=True)
class Explained:
    """`explanation` None: its audio was not heard. `verdict`: what is in force; `live`: what is on the stream.
    `judgeable`: whether judging anew could change the verdict; not of what is on its way, gone or kept back.
    """

    stored: StoredTrack
    ruling: Ruling
    previous: tuple[str, ...]
    verdict: Verdict | None
    live: tuple[str, ...]
    explanation: Explanation | None
    judgeable: bool


async def explain_track(r: Reader, uri: str, policy: Policy, *, src: str) -> Explained | None:
    """None for a track that was never seen."""
    stored = await tracks.get(r, uri)
    if stored is None:
        return None
    track, ruling, previous = stored.track, await rulings.of(r, uri), await previous_labels(r, stored)
    found = await labels.get_verdict(r, uri)
    live = tuple(row.label.val for row in await labels.live(r, src, uri) if not row.label.neg)
    explanation = None
    if track.audio_key is not None:
        analysis = await analyses.shown(r, track.audio_key)
        if analysis is not None:
            explanation = policy.explain(
                analysis,
                author_tags=track.author_tags,
                self_labels=track.self_labels,
                previous=previous,
                ruling=ruling,
            )
    verdict, judgeable = None if found is None else found.verdict, await may_decide_anew(r, stored)
    return Explained(stored, ruling, previous, verdict, live, explanation, judgeable)
