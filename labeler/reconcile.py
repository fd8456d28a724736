"""The difference between the labels that ought to be live on a subject and those that are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.clock import format_datetime, parse_datetime
from core.label import Label

_MILLISECOND_US = 1000


def reconcile(src: str, uri: str, desired: Iterable[str], current: Sequence[Label], *, now: str) -> list[Label]:
    """The unsigned labels that make exactly `desired` active on `uri`: negations first, then positives.

    `current` holds the newest row of each key of this subject, negations included. Our labels are facts about
    a work and carry no cid (P33); a pinned label that is live, of whatever origin, is negated with its cid (P32).
    `now` is the time as we write it. Once the result is current, reconciling again yields nothing.
    """
    wanted = dict.fromkeys(desired)
    if not current:
        return [Label(src, uri, val, now) for val in wanted]
    now_us = parse_datetime(now)
    rows = {label.key: label for label in current if label.src == src and label.uri == uri}
    active = [label for label in rows.values() if is_active(label, now_us)]
    negations = [
        Label(src, uri, label.val, next_cts(label, now_us), cid=label.cid, neg=True)
        for label in active
        if label.cid is not None or label.val not in wanted
    ]
    held = {label.val for label in active if label.cid is None}
    lasts = {val: rows.get((src, uri, "", val)) for val in wanted if val not in held}
    positives = [Label(src, uri, val, next_cts(last, now_us) if last else now) for val, last in lasts.items()]
    return negations + positives


def is_active(label: Label, now_us: int) -> bool:
    """Whether the newest row of a key says that the label holds now (P35, P37)."""
    return not label.neg and (label.exp is None or parse_datetime(label.exp) > now_us)


def next_cts(last: Label, now_us: int) -> str:
    """The time of the next row of a key: now, yet at least a millisecond after the last one (P36).

    A clock that steps back must not make a negation lose.
    """
    return format_datetime(max(now_us, parse_datetime(last.cts) + _MILLISECOND_US))
