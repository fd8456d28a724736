"""Disputes and the log of actions as operators see them: words, senders and reasons included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from core.clock import format_datetime
from store.actions import Action
from store.disputes import Dispute

_WORDS_SHOWN = 200  # characters in a list


def tell_dispute(dispute: Dispute) -> dict[str, Any]:
    """As JSON. `words` and `reporter` are null once they are erased."""
    return {
        "number": dispute.dispute_id,
        "at": format_datetime(dispute.created_us),
        "state": dispute.state.value,
        "by_artist": dispute.by_artist,
        "reporter": dispute.reporter,
        "uri": dispute.uri,
        "subject": dispute.subject,
        "reason_type": dispute.reason_type,
        "words": dispute.words,
        "labels_then": list(dispute.labels),
        "denied": sorted(dispute.denied),
        "stated": list(dispute.stated),
        "decided": None if dispute.decided_us is None else format_datetime(dispute.decided_us),
        "decided_by": dispute.decided_by,
        "decision": dispute.decision,
    }


def tell_action(action: Action) -> dict[str, Any]:
    """As JSON."""
    return {
        "number": action.action_id,
        "at": format_datetime(action.at_us),
        "by": action.actor_kind.value,
        "who": action.actor,
        "verb": action.verb,
        "uri": action.uri,
        "did": action.did,
        "reason": action.reason,
        "detail": dict(action.detail),
    }


def print_disputes(found: Sequence[Dispute]) -> None:
    """Three lines each, never folded: addresses are copied from here."""
    for dispute in found:
        by = "its artist" if dispute.by_artist else "a listener"
        words = "(erased)" if dispute.words is None else _line(dispute.words[:_WORDS_SHOWN]) or "(none)"
        click.echo(f"{dispute.dispute_id} {format_datetime(dispute.created_us)} {dispute.state.value} {dispute.uri}")
        click.echo(f"    labels then: {_list(list(dispute.labels))}\n    {by}: {words}")
    if not found:
        click.echo("none")


def print_dispute(told: dict[str, Any]) -> None:
    """All of what `show` found."""
    ruling = told["ruling"]
    for name, value in (
        ("dispute", f"{told['number']}, {told['state']}, {told['at']}"),
        ("track", told["title"] or "(not known, or gone)"),
        ("record", told["uri"]),
        ("reported on", told["subject"]),
        ("by", ("its artist " if told["by_artist"] else "a listener ") + (told["reporter"] or "(erased)")),
        ("words", "(erased)" if told["words"] is None else told["words"] or "(none)"),
        ("understood", f"not: {_list(told['denied'])}; but: {_list(told['stated'])}"),
        ("labels then", _list(told["labels_then"])),
        ("labels now", _list(told["labels_now"])),
        ("ruling now", f"not: {_list(ruling['denied'])}; but: {_list(ruling['stated'])}"),
        ("decided", f"{told['decided']} by {told['decided_by']}: {told['decision']}" if told["decided"] else "not yet"),
        ("others", _list([str(number) for number in told["others"]])),
    ):
        click.echo(f"{name:<12} {_line(value)}")
    for step in told["log"]:
        click.echo(f"{'log':<12} {step_line(step)}")


def step_line(step: dict[str, Any]) -> str:
    """One step of the log on one line."""
    who = f"{step['by']} {step['who']}" if step["who"] else step["by"]
    detail = ", ".join(f"{name} {_list(value)}" for name, value in step["detail"].items())
    about = step["uri"] or step["did"] or "all records"
    why = (f": {step['reason']}" if step["reason"] else "") + (f" ({detail})" if detail else "")
    return _line(f"{step['number']} {step['at']} {step['verb']} {about} by {who}{why}")


def _list(value: Any) -> str:
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _line(text: str) -> str:
    """Strangers' words on one line: what would move the cursor becomes a space."""
    return "".join(char if char.isprintable() else " " for char in text)
