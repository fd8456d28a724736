"""Which labels leave, and how many: by turn, never more than there is room for, and every budget to the last label."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import format_datetime
from core.keys import SigningKey
from core.label import Label
from core.types import Did
from labeler import emission
from labeler.emission import Emission, Round
from labeler.signing import sign_all
from store import Store, labels
from store.labels import PendingVerdict, Turn

SRC = "did:plc:z72i7hdynmk6r22z27h6tvur"
HOME = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"
CTS = "2026-01-02T03:04:05.678Z"

subjects = st.tuples(st.sampled_from(list(Turn)), st.integers(0, 3), st.integers(0, 3))  # turn, negations, positives


def asked(number: int, turn: Turn, negations: int, positives: int) -> tuple[PendingVerdict, list[Label]]:
    uri = f"{HOME}{number}"
    todo = [Label(SRC, uri, f"old-{n}", CTS, neg=True) for n in range(negations)]
    todo += [Label(SRC, uri, f"new-{n}", CTS) for n in range(positives)]
    return PendingVerdict(uri, 1, turn, (), ()), todo


def turn_of(verdict: PendingVerdict, label: Label) -> int:
    return (0 if label.neg else 2) + verdict.turn % 2


@given(st.lists(subjects, max_size=6), st.integers(0, 30))
def test_p47_what_leaves_is_never_less_pressing_than_what_stays(told: list[tuple[Turn, int, int]], room: int) -> None:
    wanted = [asked(number, *one) for number, one in enumerate(told)]
    this = Round.of(wanted, room)
    assert len(this.leaving) == min(room, sum(len(todo) for _, todo in wanted))
    turns = {verdict.uri: verdict for verdict, _ in wanted}
    left = [label for _, todo in wanted for label in todo if label not in this.leaving]
    gone = [turn_of(turns[label.uri], label) for label in this.leaving]
    staying = [turn_of(turns[label.uri], label) for label in left]
    if left:
        assert gone == sorted(gone)
        assert max(gone, default=0) <= min(staying)
    assert this.is_complete == (not left)
    assert {verdict.uri for verdict in this.settled} == set(turns) - {label.uri for label in left}
    for verdict, _ in wanted:
        stays = [turn_of(verdict, label) for label in left if label.uri == verdict.uri]
        assert this.turns.get(verdict.uri, verdict.turn) == min(stays, default=verdict.turn)


@pytest.mark.parametrize("count", [1, 7, 40])
async def test_p47_a_budget_is_used_to_its_last_label_and_not_beyond(
    store: Store, key: SigningKey, src: Did, clock: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Labels that are in the log count by when they were made, whoever asks and however much."""
    monkeypatch.setattr(emission, "LONG_BUDGETS", ((20, 3_600_000_000),))
    async with store.write() as tx:
        for age in (3700, 3601, 3599, *range(3000, 3014)):
            cts = format_datetime(clock.now_us() - age * 1_000_000)
            made = sign_all([Label(src, f"{HOME}{age}", "jazz", cts)], key)
            await labels.append(tx, made, key_id="did:key:z")
    ordinary, pressing = [asked(1, Turn.OTHER, 0, count)], [asked(1, Turn.RULED, 0, count)]
    mixed = [asked(1, Turn.OTHER, 1, count - 1)]
    async with store.read() as reader:
        assert await Emission(clock, 1000).room(reader, ordinary) == min(count, 5)
        assert await Emission(clock, 1000).room(reader, pressing) == min(count, 7)  # a tenth more
        assert await Emission(clock, 1000).room(reader, mixed) == min(count, 5)
        assert await Emission(clock, None).room(reader, ordinary) == count
        clock.advance(2)
        assert await Emission(clock, 1000).room(reader, ordinary) == min(count, 6)
        assert await Emission(clock, 4).room(reader, pressing) == 1
