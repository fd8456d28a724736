"""What is known of tracks in the words of our own lexicon (docs/lexicons.md), which has integers only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.label import NumberedLabel
from core.types import TrackState
from earmark.report import Known
from labeler.certificate import millionths, tell_packs

STATES: Final[Mapping[TrackState, str]] = {
    TrackState.QUEUED: "waiting",
    TrackState.ANALYSING: "waiting",
    TrackState.READY: "decided",
    TrackState.UNDECIDED: "undecided",
    TrackState.REFUSED: "refused",
    TrackState.WITHDRAWN: "withdrawn",
}


def tell_view(uri: str, known: Known | None) -> dict[str, Any]:
    """A `#trackView`. Of a track that is not public, state and reason only."""
    state = "unknown" if known is None else STATES[known.stored.state]
    view: dict[str, Any] = {"uri": uri, "state": state, "labels": [], "genres": [], "packs": []}
    if known is None:
        return view
    if known.stored.reason:
        view["reason"] = known.stored.reason
    if not known.public:
        return view
    view["labels"] = tell_labels(known.labels)
    if known.verdict is not None:
        view["genres"] = [
            {"identifier": genre.identifier, "name": genre.display, "score": millionths(genre.score)}
            for genre in known.verdict.verdict.genres
        ]
    if known.analysis is not None:
        view["packs"] = tell_packs(known.analysis.packs)
        view["durationMs"] = round(known.analysis.duration_seconds * 1000)
        if (blob := known.stored.track.blob) is not None:
            view["audio"] = blob.cid
    return view


def tell_labels(rows: Iterable[NumberedLabel]) -> list[dict[str, Any]]:
    """Those that are live, in the order of the stream."""
    return [{"val": row.label.val, "cts": row.label.cts} for row in rows if not row.label.neg]
