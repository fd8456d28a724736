"""What is known of one track, as one JSON value: the question that every artist asks. Used by the API and the CLI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.analysis import Analysis
from core.clock import format_datetime
from core.job import Job
from core.label import NumberedLabel
from core.link import Link
from core.types import Visibility
from earmark.telling import Describe, tell_acoustics, tell_genres, tell_segments
from firehose.listings import HELD
from store import Reader, analyses, jobs, labels, links, tracks, wishes
from store.labels import StoredVerdict
from store.tracks import StoredTrack
from store.wishes import Scope


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What may be told of one track. Unless `public`, its state and reason only: the rest is empty."""

    stored: StoredTrack
    public: bool
    job: Job | None
    verdict: StoredVerdict | None
    labels: tuple[NumberedLabel, ...]  # the current row of each key, retractions included, in the stream's order
    posts: tuple[Link, ...]
    analysis: Analysis | None


async def look_up(reader: Reader, uri: str, *, labeler_did: str, everything: bool = False) -> Known | None:
    """None when the track was never seen. `everything`: its own artist asks, who may see what is kept from others."""
    stored = await tracks.get(reader, uri)
    if stored is None:
        return None
    verdict = await labels.get_verdict(reader, uri)
    # What its artist keeps from the public keeps its words here too: state and reason are enough to ask about it.
    public = everything or await is_public(reader, stored)
    live = await labels.live(reader, labeler_did, uri) if labeler_did and public else []
    return Known(
        stored=stored,
        public=public,
        job=await jobs.latest(reader, uri),
        verdict=verdict,
        labels=tuple(sorted(live, key=lambda row: row.seq)),
        posts=tuple(await links.of_track(reader, uri)) if public else (),
        analysis=await _heard_for(reader, stored, verdict) if public else None,
    )


async def track_report(
    reader: Reader, uri: str, *, labeler_did: str, describe: Describe, peaks: bool = False
) -> dict[str, Any] | None:
    """State, reason, job, verdict, what was heard, labels on the stream and posts; None when it was never seen.

    `describe` says what a stretch of a long track is (labeler.Policy.describe); `peaks` adds its waveform.
    """
    known = await look_up(reader, uri, labeler_did=labeler_did)
    if known is None:
        return None
    stored, job, verdict, analysis, public = known.stored, known.job, known.verdict, known.analysis, known.public
    return {
        "uri": uri,
        "title": stored.track.title if public else None,
        "artist": stored.track.artist if public else None,
        "state": stored.state.value,
        "reason": stored.reason,
        "visibility": stored.visibility.value if stored.track.visibility_check else "not_asked",
        "account_active": stored.account_active,
        "first_seen": format_datetime(stored.first_seen_us),
        "updated": format_datetime(stored.updated_us),
        "job": job
        and {
            "state": job.state.value,
            "attempt": job.attempt,
            "reason": job.reason,
            "next_try": format_datetime(job.run_after_us) if job.state == "ready" else None,
        },
        "verdict": verdict
        and {
            "status": verdict.verdict.status.value,
            "reason": verdict.verdict.reason,
            "notes": list(verdict.verdict.notes) if public else [],
            "labels": list(verdict.verdict.labels) if public else [],
            "genres": tell_genres(verdict.verdict.genres if public else ()),
            "published": not verdict.pending,  # the label stream says what the verdict says
        },
        "analysis": analysis
        and {
            "packs": dict(analysis.packs),
            "duration_seconds": round(analysis.duration_seconds, 3),
            "acoustics": tell_acoustics(analysis.acoustics, peaks=peaks),
            "segments": tell_segments(analysis, describe),
        },
        "labels": [
            {"val": row.label.val, "neg": row.label.neg, "cts": row.label.cts, "seq": row.seq} for row in known.labels
        ],
        "posts": [link.post_uri for link in known.posts],
    }


async def is_public(reader: Reader, stored: StoredTrack) -> bool:
    """Whether people who are logged out may be told of it: it is released, its account is active, and neither its
    artist nor the app that published it keeps it back. Until its artist's profile was read nobody knows.
    """
    track = stored.track
    if not await wishes.profile_known(reader, track.did):
        return False
    standing = await wishes.of(reader, track.did)
    answered = track.visibility_check is None or stored.visibility is Visibility.PUBLIC
    kept_back = track.gated or stored.reason == HELD or standing.logged_in_only or standing.scope is Scope.ALL
    return stored.account_active and answered and not kept_back


async def _heard_for(reader: Reader, stored: StoredTrack, verdict: StoredVerdict | None) -> Analysis | None:
    """The analysis behind the verdict. Anybody's record may name another's audio, also audio that was hidden since:
    nothing is told of it unless the verdict on this very record was decided by hearing it.
    """
    audio_key = stored.track.audio_key
    if audio_key is None or verdict is None or verdict.generation is None or verdict.audio_key != audio_key:
        return None
    return await analyses.shown(reader, audio_key)
