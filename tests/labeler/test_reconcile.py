"""reconcile is a fixed point: what it asks for, once done, leaves nothing to ask for."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.clock import format_datetime, parse_datetime
from core.label import Label
from labeler.reconcile import is_active, reconcile

SRC = "did:plc:z72i7hdynmk6r22z27h6tvur"
URI = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/3lbn5tqsb4s2x"
CID = "bafyreihltcnuuyqp2jm24aqydpnlj7b6w3ogwrplomrjtg5rifv44mmjey"
NOW = 1_767_323_045_678_000

values = st.sampled_from(["jazz", "rock", "pop", "electronic", "electronic-ambient"])
times = st.integers(NOW - 10_000_000, NOW + 10_000_000)


@st.composite
def rows(draw: st.DrawFn) -> list[Label]:
    """The newest row of any keys of the subject: pinned or not, negated, expired, from the past or the future."""
    keys = draw(st.lists(st.tuples(values, st.sampled_from([None, CID])), unique=True, max_size=8))
    current = []
    for val, cid in keys:
        exp = draw(st.none() | times.map(format_datetime))
        label = Label(SRC, URI, val, format_datetime(draw(times)), cid=cid, neg=draw(st.booleans()), exp=exp)
        current.append(label)
    return current


def after(current: Sequence[Label], emitted: Sequence[Label]) -> list[Label]:
    return list({label.key: label for label in (*current, *emitted)}.values())


def active(current: Sequence[Label], now_us: int) -> set[tuple[str, str | None]]:
    return {(label.val, label.cid) for label in current if is_active(label, now_us)}


@given(rows(), st.lists(values, max_size=5))
def test_p33_convergent_and_idempotent(current: list[Label], desired: list[str]) -> None:
    emitted = reconcile(SRC, URI, desired, current, now=format_datetime(NOW))
    done = after(current, emitted)
    assert active(done, NOW) == {(val, None) for val in desired}
    assert reconcile(SRC, URI, desired, done, now=format_datetime(NOW)) == []
    assert len({label.key for label in emitted}) == len(emitted)


@given(rows(), st.lists(values, max_size=5), st.integers(0, 12))
def test_p47_cut_short_anywhere_it_continues_where_it_stopped(
    current: list[Label], desired: list[str], cut: int
) -> None:
    """The publisher may emit only a part when a limit is met."""
    whole = reconcile(SRC, URI, desired, current, now=format_datetime(NOW))
    rest = reconcile(SRC, URI, desired, after(current, whole[:cut]), now=format_datetime(NOW))
    assert [(label.key, label.neg) for label in rest] == [(label.key, label.neg) for label in whole[cut:]]


@given(rows(), st.lists(values, max_size=5))
def test_p36_every_row_is_later_than_the_last_of_its_key(current: list[Label], desired: list[str]) -> None:
    last = {label.key: parse_datetime(label.cts) for label in current}
    for label in reconcile(SRC, URI, desired, current, now=format_datetime(NOW)):
        assert parse_datetime(label.cts) > last.get(label.key, 0)
        assert parse_datetime(label.cts) >= NOW // 1000 * 1000


@given(rows())
def test_p32_an_empty_verdict_negates_exactly_what_is_active(current: list[Label]) -> None:
    emitted = reconcile(SRC, URI, (), current, now=format_datetime(NOW))
    assert all(label.neg for label in emitted)
    assert {(label.val, label.cid) for label in emitted} == active(current, NOW)


def test_p32_negations_repeat_the_cid_and_come_first() -> None:
    pinned = Label(SRC, URI, "jazz", format_datetime(NOW - 1000), cid=CID)
    emitted = reconcile(SRC, URI, ["jazz"], [pinned], now=format_datetime(NOW))
    assert [(label.val, label.cid, label.neg) for label in emitted] == [("jazz", CID, True), ("jazz", None, False)]


def test_p36_a_clock_that_steps_back_does_not_lose_a_negation() -> None:
    live = Label(SRC, URI, "jazz", format_datetime(NOW + 3_600_000_000))
    (negation,) = reconcile(SRC, URI, (), [live], now=format_datetime(NOW))
    assert parse_datetime(negation.cts) == NOW + 3_600_000_000 + 1000


def test_p36_a_time_written_in_microseconds_is_passed_too() -> None:
    live = Label(SRC, URI, "jazz", "2026-01-02T03:04:05.678901+00:00")
    (negation,) = reconcile(SRC, URI, (), [live], now=format_datetime(NOW))
    assert negation.cts == "2026-01-02T03:04:05.679Z"


def test_p37_an_expired_label_is_not_active() -> None:
    expired = Label(SRC, URI, "jazz", format_datetime(NOW - 5000), exp=format_datetime(NOW))
    assert reconcile(SRC, URI, (), [expired], now=format_datetime(NOW)) == []
    (positive,) = reconcile(SRC, URI, ["jazz"], [expired], now=format_datetime(NOW))
    assert (positive.neg, positive.exp) == (False, None)


def test_p15_rows_of_others_and_of_other_subjects_are_left_alone() -> None:
    label = Label(SRC, URI, "jazz", format_datetime(NOW))
    foreign = [label._replace(src="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), label._replace(uri=URI + "2")]
    assert reconcile(SRC, URI, (), foreign, now=format_datetime(NOW)) == []
