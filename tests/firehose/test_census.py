"""Who has records of a collection, by the word of relays that are slow, hostile or wrong (P175)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core.errors import RateLimited, Unproven, Unreachable
from core.ports import HttpAnswer
from firehose.census import list_accounts

DID = "did:plc:" + "a" * 24


class Relay:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, str]] = []

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        self.asked.append(options["params"])
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return HttpAnswer(status, {}, body if isinstance(body, bytes) else orjson.dumps(body), url)


async def test_P175_a_page_and_the_way_to_the_next(clock: Any) -> None:
    relay = Relay({"repos": [{"did": DID, "more": 1}], "cursor": "2", "unknown": None})
    page = await list_accounts(relay, "https://relay.test", "fm.plyr.track", "1", clock=clock)
    assert (page.dids, page.cursor) == ((DID,), "2")
    assert relay.asked == [{"collection": "fm.plyr.track", "limit": "1000", "cursor": "1"}]


@pytest.mark.parametrize(
    ("answer", "cursor"),
    [
        ({"repos": []}, None),
        ({"repos": [], "cursor": "on and on"}, None),  # nothing more comes from there
        ({"repos": [{"did": DID}], "cursor": "same"}, None),  # a circle
        ({"repos": [{"did": DID}], "cursor": ""}, None),
        ({"repos": [{"did": DID}], "cursor": "x" * 5_000}, None),
        ({"repos": [{"did": DID}], "cursor": None}, None),
    ],
)
async def test_a_list_comes_to_an_end(clock: Any, answer: Any, cursor: str | None) -> None:
    page = await list_accounts(Relay(answer), "https://relay.test", "fm.plyr.track", "same", clock=clock)
    assert page.cursor is cursor


async def test_what_is_no_did_is_passed_over(clock: Any) -> None:
    repos = [{"did": text} for text in ("ada.test", "", "did:plc:\n", DID, "did:" + "x" * 5_000)]
    page = await list_accounts(Relay({"repos": repos}), "https://relay.test", "fm.plyr.track", None, clock=clock)
    assert page.dids == (DID,)


async def test_a_relay_that_falters_is_asked_again(clock: Any) -> None:
    trouble = [RateLimited("slower", retry_after_seconds=0.01), Unreachable("gone", retry_after_seconds=0.01)]
    relay = Relay(*trouble, {"repos": [{"did": DID}]})
    assert (await list_accounts(relay, "https://relay.test", "fm.plyr.track", None, clock=clock)).dids == (DID,)
    assert len(relay.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error", "times"),
    [
        (RateLimited("much later", retry_after_seconds=3_600), RateLimited, 1),
        (Unreachable("gone", retry_after_seconds=0.001), Unreachable, 5),
        ((501, {"error": "MethodNotImplemented"}), Unproven, 1),
    ],
)
async def test_patience_ends(clock: Any, answer: Any, error: type[Exception], times: int) -> None:
    relay = Relay(answer)
    with pytest.raises(error):
        await list_accounts(relay, "https://relay.test", "fm.plyr.track", None, clock=clock)
    assert len(relay.asked) == times


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"repos": [1]}', b'{"repos": "x"}', b"[" * 100_000])
async def test_nonsense_is_no_list(clock: Any, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firehose.census.TRIES", 1)
    with pytest.raises(Unreachable):
        await list_accounts(Relay(body), "https://relay.test", "fm.plyr.track", None, clock=clock)
