"""How long a host asks to be left alone, in the headers of its answers (P176, P199). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 86_400.0


def told_pause_seconds(headers: Mapping[str, str], *, now_us: int) -> float | None:
    """Seconds after which a host wants to be asked again: Retry-After, else RateLimit-Reset when nothing remains.

    None when it does not say. At most a day.
    """
    told = retry_after_seconds(headers.get("retry-after"), now_us=now_us)
    if told is None and headers.get("ratelimit-remaining", "").strip() == "0":
        reset = headers.get("ratelimit-reset", "").strip()
        if reset.isascii() and reset.isdigit() and len(reset) < 12:
            seconds = float(reset) if float(reset) < 1e9 else int(reset) - now_us / 1_000_000  # P199: epoch seconds
            told = min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return told


def retry_after_seconds(header: str | None, *, now_us: int) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None when absent or nonsense."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = moment.timestamp() - now_us / 1_000_000
        except (ValueError, TypeError, OverflowError):  # hostile dates: zones of years, years of zero
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
