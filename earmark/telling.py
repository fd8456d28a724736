"""How an analysis is told: the same words and numbers in `classify`, `track` and the API."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console

from core.analysis import Acoustics, Analysis, Genre, Segment

Describe = Callable[[Segment], tuple[Genre, ...]]  # labeler.Policy.describe
_PIPE_COLUMNS = 120  # of a pipe or a file, which have no width: at rich's 80 the tables break every name


def open_console() -> Console:
    """Stdout for tables: as wide as the terminal, or as COLUMNS says, else 120."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_PIPE_COLUMNS)


def tell_genres(genres: Iterable[Genre], *, digits: int = 4) -> list[dict[str, Any]]:
    """Identifier, name and score 0..1 of each."""
    return [
        {"identifier": genre.identifier, "display": genre.display, "score": round(genre.score, digits)}
        for genre in genres
    ]


def tell_acoustics(acoustics: Acoustics | None, *, peaks: bool) -> dict[str, Any] | None:
    """As docs/api.md has them. Tempo and key are null where they are too unsure to be published."""
    if acoustics is None:
        return None
    told: dict[str, Any] = {
        "bpm": _rounded(acoustics.shown_bpm, 1),
        "bpm_confidence": _rounded(acoustics.bpm_confidence, 3),
        "key": acoustics.shown_key,
        "key_confidence": _rounded(acoustics.key_confidence, 3),
        "loudness_lufs": _rounded(acoustics.loudness_lufs, 1),
        "loudness_range_lu": _rounded(acoustics.loudness_range_lu, 1),
        "sample_peak_dbfs": _rounded(acoustics.sample_peak_dbfs, 2),
        "true_peak_dbtp": _rounded(acoustics.true_peak_dbtp, 2),
        "clipped": _rounded(acoustics.clipped, 6),
        "channels": acoustics.channels,
        "sample_rate": acoustics.sample_rate,
        "speech": _rounded(acoustics.speech, 3),
        "music": _rounded(acoustics.music, 3),
        "voice": _rounded(acoustics.voice, 3),
    }
    return told | ({"peaks": list(acoustics.peaks)} if peaks else {})


def tell_segments(analysis: Analysis, describe: Describe) -> list[dict[str, Any]]:
    """The stretches of a long track, times in seconds; none of a short one."""
    return [
        {
            "start": round(segment.start_seconds, 3),
            "end": round(segment.end_seconds, 3),
            "genres": tell_genres(describe(segment)),
        }
        for segment in analysis.segments
    ]


def show_acoustics(told: Mapping[str, Any] | None) -> str:
    """What `tell_acoustics` told, in a line for people: `120 bpm, A minor, -9.8 LUFS`."""
    if told is None:
        return ""
    parts = (
        told["bpm"] and f"{told['bpm']:.0f} bpm",
        told["key"],
        None if told["loudness_lufs"] is None else f"{told['loudness_lufs']:.1f} LUFS",
    )
    return ", ".join(part for part in parts if part)


def show_genres(told: Iterable[Mapping[str, Any]]) -> str:
    """Such as `Ambient 0.41, Drone 0.30`."""
    return ", ".join(f"{genre['display']} {genre['score']:.2f}" for genre in told)


def show_stretch(told: Mapping[str, Any]) -> str:
    """When a segment is: `0:00-5:12`."""
    return f"{show_time(told['start'])}-{show_time(told['end'])}"


def show_time(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
