"""What an account's host says when it does not give what was asked for, by the error's name (P177)."""

from __future__ import annotations

import orjson

from core.errors import AccountAway, RateLimited, Unproven, Unreachable
from core.ports import HttpAnswer

RECORD_NOT_FOUND = "RecordNotFound"

# What the account then is. A host that does not know it may have lost it, or be the wrong one: that hides what is known
# of the account and deletes nothing (P153).
NOT_FOUND = "not_found"
STATUS_OF_ERROR = {
    "RepoNotFound": NOT_FOUND,
    "RepoTakendown": "takendown",
    "RepoSuspended": "suspended",
    "RepoDeactivated": "deactivated",
}


def error_name(answer: HttpAnswer) -> str:
    """The `error` of an XRPC answer; '' when it is none."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return ""
    name = body.get("error") if isinstance(body, dict) else None
    return name[:100] if isinstance(name, str) else ""


def check_answer(answer: HttpAnswer) -> bytes:
    """The body of a success.

    Raises AccountAway with the status that the host names, RateLimited, Unproven when it does not know the method, and
    Unreachable for everything else: a host in trouble says nothing of its accounts (P153).
    """
    if answer.status == 200:
        return answer.body
    name = error_name(answer)
    what = f"{answer.url[:200]} answers {answer.status} {name}".rstrip()
    if name in STATUS_OF_ERROR:
        raise AccountAway(what, status=STATUS_OF_ERROR[name])
    if answer.status == 429:
        raise RateLimited(what)
    if name == "MethodNotImplemented":
        raise Unproven(what)
    raise Unreachable(what)
