"""The difference between the labels that ought to be live on a subject and those that are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.clock import format_datetime, parse_datetime
from core.label import Label, NumberedLabel

_MILLISECOND_US = 1000


def reconcile(
    src: str, uri: str, desired: Iterable[str], current: Sequence[NumberedLabel], *, now_us: int
) -> list[Label]:
    """The unsigned labels that make exactly `desired` active on `uri`: negations first, then positives.

    `current` holds the newest row of each key of this subject, negations included. Our labels are facts about
    a work and carry no cid (P33); a pinned label that is live, of whatever origin, is negated with its cid (P32).
    Once the result is current, reconciling again yields nothing.
    """
    rows = {row.label.key: row.label for row in current if row.label.src == src and row.label.uri == uri}
    wanted = dict.fromkeys(desired)
    active = [label for label in rows.values() if is_active(label, now_us)]
    negations = [
        Label(src, uri, label.val, next_cts(label, now_us), cid=label.cid, neg=True)
        for label in active
        if label.cid is not None or label.val not in wanted
    ]
    held = {label.val for label in active if label.cid is None}
    positives = [
        Label(src, uri, val, next_cts(rows.get((src, uri, "", val)), now_us)) for val in wanted if val not in held
    ]
    return negations + positives


def is_active(label: Label, now_us: int) -> bool:
    """Whether the newest row of a key says that the label holds now (P35, P37)."""
    return not label.neg and (label.exp is None or parse_datetime(label.exp) > now_us)


def next_cts(last: Label | None, now_us: int) -> str:
    """The time of the next row of a key: now, yet at least a millisecond after the last one (P36).

    A clock that steps back must not make a negation lose.
    """
    if last is None:
        return format_datetime(now_us)
    return format_datetime(max(now_us, parse_datetime(last.cts) + _MILLISECOND_US))
