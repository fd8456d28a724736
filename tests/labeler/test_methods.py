"""queryLabels and subscribeLabels as plain functions over the real store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson
import pytest

from core.clock import format_datetime
from core.errors import XrpcError
from core.keys import SigningKey
from core.label import Label
from core.types import Did
from core.xrpc import Batch, Call, decode_params
from labeler import frame_log
from labeler.frames import LabelsFrame, read_frame
from labeler.methods import LabelMethods, split_patterns
from labeler.signing import sign, verify
from store import Store, labels

ALICE = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"
BOB = "at://did:plc:zbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"

Append = Callable[..., Any]


@pytest.fixture
def served(store: Store, src: Did) -> LabelMethods:
    return LabelMethods(store, src=src)


@pytest.fixture
def append(store: Store, key: SigningKey, src: Did, clock: Any) -> Append:
    async def append(*subjects: str, val: str = "jazz", neg: bool = False, of: str = src) -> list[int]:
        clock.advance(1)
        unsigned = [Label(of, uri, val, format_datetime(clock.now_us()), neg=neg) for uri in subjects]
        async with store.write() as tx:
            return await labels.append(tx, [sign(label, key) for label in unsigned], key_id=key.public.did_key)

    return append


async def query(served: LabelMethods, *pairs: tuple[str, str]) -> dict[str, Any]:
    described = served.query_labels
    answer = await described.answer(Call(decode_params(described.params, pairs)))
    assert isinstance(answer, bytes)
    page: dict[str, Any] = orjson.loads(answer)
    return page


def uris(page: dict[str, Any]) -> list[str]:
    return [label["uri"] for label in page["labels"]]


def subscribe(served: LabelMethods, *pairs: tuple[str, str]) -> AsyncIterator[bytes]:
    described = served.subscribe_labels
    return _frames(described.batches(Call(decode_params(described.params, pairs))))


async def _frames(batches: AsyncIterator[Batch]) -> AsyncIterator[bytes]:
    async for batch in batches:
        wire = batch.wire
        while wire:  # RFC 6455: binary, unmasked; the length in one byte or the next two
            assert wire[0] == 0x82
            start, length = (2, wire[1]) if wire[1] < 126 else (4, int.from_bytes(wire[2:4]))
            assert wire[1] < 127
            yield wire[start : start + length]
            wire = wire[start + length :]


async def take(frames: AsyncIterator[bytes], count: int) -> list[LabelsFrame]:
    taken = []
    async with asyncio.timeout(20):
        for _ in range(count):
            frame = read_frame(await anext(frames))
            assert isinstance(frame, LabelsFrame)
            taken.append(frame)
    return taken


def seqs(frames: Sequence[LabelsFrame]) -> list[int]:
    return [frame.seq for frame in frames]


# --- queryLabels


async def test_p53_p54_patterns_are_exact_or_prefixes_byte_by_byte(served: LabelMethods, append: Append) -> None:
    await append(ALICE + "a_b", ALICE + "aXb", ALICE + "A_b", ALICE + "a_b-c", BOB + "a_b")
    assert uris(await query(served, ("uriPatterns", ALICE + "a_b"))) == [ALICE + "a_b"]
    assert uris(await query(served, ("uriPatterns", ALICE + "a_b*"))) == [ALICE + "a_b", ALICE + "a_b-c"]
    assert uris(await query(served, ("uriPatterns", ALICE + "*"))) == [
        ALICE + "a_b",
        ALICE + "aXb",
        ALICE + "A_b",
        ALICE + "a_b-c",
    ]
    assert len(uris(await query(served, ("uriPatterns", "*")))) == 5
    both = await query(served, ("uriPatterns", BOB + "*"), ("uriPatterns", ALICE + "aXb"), ("uriPatterns", BOB + "a_b"))
    assert uris(both) == [ALICE + "aXb", BOB + "a_b"]
    for wild in ("at://did:plc:nobody,*", ALICE + "%", ALICE + "a%*", ALICE + "?_b"):
        assert uris(await query(served, ("uriPatterns", wild))) == []


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (("uriPatterns", ""),),
        (("uriPatterns", "a*b"),),
        (("uriPatterns", "**"),),
        (("uriPatterns", "*"), ("uriPatterns", ALICE + "a")),
        (("uriPatterns", "at://did"), ("uriPatterns", "at://did*")),
        tuple(("uriPatterns", f"{ALICE}{number}") for number in range(101)),
        (("uriPatterns", "*"), ("limit", "0")),
        (("uriPatterns", "*"), ("limit", "251")),
        (("uriPatterns", "*"), ("limit", "x")),
        (("uriPatterns", "*"), ("cursor", "x")),
        (("uriPatterns", "*"), ("cursor", "-1")),
        (("uriPatterns", "*"), ("cursor", "1.5")),
        (("uriPatterns", "*"), ("cursor", "٣")),
        (("uriPatterns", "*"), ("cursor", str(2**53))),
        (("uriPatterns", "*"), ("cursor", "9" * 40)),
    ],
    ids=lambda pairs: "&".join(f"{name}={value}" for name, value in pairs[:2])[-40:],
)
async def test_p51_p53_p60_bad_requests_are_refused_by_name(
    served: LabelMethods, pairs: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(XrpcError) as caught:
        await query(served, *pairs)
    assert (caught.value.name, caught.value.status) == ("InvalidRequest", 400)


def test_p60_a_hundred_patterns_are_taken() -> None:
    exact, prefixes = split_patterns([f"{ALICE}{number}" for number in range(99)] + [ALICE + "*"])
    assert (len(exact), prefixes) == (99, [ALICE])


async def test_p55_p56_pages_are_whole_while_labels_arrive(served: LabelMethods, append: Append) -> None:
    await append(*(f"{ALICE}{number}" for number in range(600)))
    seen: list[str] = []
    cursor: tuple[tuple[str, str], ...] = ()
    for pages in range(1, 10):
        page = await query(served, ("uriPatterns", ALICE + "*"), ("limit", "250"), *cursor)
        seen += uris(page)
        if "cursor" not in page:
            break
        await append(f"{ALICE}{1000 + pages}")
        cursor = (("cursor", page["cursor"]),)
    assert seen == [*(f"{ALICE}{number}" for number in range(600)), f"{ALICE}1001", f"{ALICE}1002"]


async def test_p56_no_cursor_after_a_page_that_is_not_full(served: LabelMethods, append: Append) -> None:
    assert await query(served, ("uriPatterns", "*")) == {"labels": []}
    await append(ALICE + "a", ALICE + "b")
    assert "cursor" not in await query(served, ("uriPatterns", "*"), ("limit", "3"))
    full = await query(served, ("uriPatterns", "*"), ("limit", "2"))
    assert full["cursor"] == "2"
    assert await query(served, ("uriPatterns", "*"), ("limit", "2"), ("cursor", "2")) == {"labels": []}


async def test_p57_other_sources_have_no_labels_here(served: LabelMethods, append: Append, src: Did) -> None:
    await append(ALICE + "a")
    other = ("sources", "did:plc:xbtmt2zjwlrfegqvch7fboei")
    assert uris(await query(served, ("uriPatterns", "*"), other)) == []
    assert uris(await query(served, ("uriPatterns", "*"), other, ("sources", src))) == [ALICE + "a"]


async def test_p58_the_newest_row_of_a_key_is_returned_even_if_it_retracts(
    served: LabelMethods, append: Append
) -> None:
    await append(ALICE + "a", ALICE + "b")
    await append(ALICE + "a", neg=True)
    page = await query(served, ("uriPatterns", "*"))
    assert [(label["uri"], label.get("neg")) for label in page["labels"]] == [(ALICE + "b", None), (ALICE + "a", True)]


async def test_p2_p13_p59_answers_verify_byte_for_byte(
    served: LabelMethods, append: Append, key: SigningKey, src: Did
) -> None:
    await append(ALICE + "a")
    await append(ALICE + "a", neg=True, val="rock")
    for label in (await query(served, ("uriPatterns", "*")))["labels"]:
        assert verify(label, key.public)
        assert (label["ver"], label["src"]) == (1, src)
        assert set(label) <= {"ver", "src", "uri", "val", "neg", "cts", "sig"}
        assert label.get("neg", True) is True
        assert set(label["sig"]) == {"$bytes"}
        assert not label["sig"]["$bytes"].endswith("=")


async def test_p15_labels_of_an_earlier_identity_are_not_served(served: LabelMethods, append: Append) -> None:
    await append(ALICE + "a", of="did:plc:xbtmt2zjwlrfegqvch7fboei")
    await append(ALICE + "b")
    assert uris(await query(served, ("uriPatterns", "*"))) == [ALICE + "b"]
    assert seqs(await take(subscribe(served, ("cursor", "0")), 1)) == [2]


# --- subscribeLabels


async def test_p63_p65_p70_cursor_zero_replays_everything_verifiably(
    served: LabelMethods, append: Append, key: SigningKey
) -> None:
    await append(ALICE + "a", ALICE + "b")
    await append(ALICE + "a", neg=True)
    frames = await take(subscribe(served, ("cursor", "0")), 3)
    assert seqs(frames) == [1, 2, 3]
    assert all(verify(label, key.public) for frame in frames for label in frame.labels)
    assert [label["uri"] for frame in frames for label in frame.labels] == [ALICE + "a", ALICE + "b", ALICE + "a"]


async def test_p68_without_a_cursor_only_what_is_new(served: LabelMethods, append: Append) -> None:
    await append(ALICE + "a")
    frames = subscribe(served)
    waiting = asyncio.ensure_future(take(frames, 1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await append(ALICE + "b")
    assert seqs(await waiting) == [2]


async def test_p69_a_cursor_is_the_last_event_seen(served: LabelMethods, append: Append) -> None:
    await append(ALICE + "a", ALICE + "b", ALICE + "c")
    assert seqs(await take(subscribe(served, ("cursor", "2")), 1)) == [3]
    last = asyncio.ensure_future(take(subscribe(served, ("cursor", "3")), 1))
    await asyncio.sleep(0.05)
    assert not last.done()
    await append(ALICE + "d")
    assert seqs(await last) == [4]


async def test_p70_p71_a_cursor_of_zero_is_never_in_the_future(served: LabelMethods, append: Append) -> None:
    waiting = asyncio.ensure_future(take(subscribe(served, ("cursor", "0")), 1))
    await asyncio.sleep(0.05)
    await append(ALICE + "a")
    assert seqs(await waiting) == [1]


@pytest.mark.parametrize("cursor", ["2", "9007199254740990"])
async def test_p71_a_future_cursor_ends_the_stream_before_anything_is_sent(
    served: LabelMethods, append: Append, cursor: str
) -> None:
    await append(ALICE + "a")
    frames = subscribe(served, ("cursor", cursor))
    with pytest.raises(XrpcError) as caught:
        await anext(frames)
    assert caught.value.name == "FutureCursor"
    with pytest.raises(StopAsyncIteration):
        await anext(frames)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.0", "1 ", "9" * 30])
def test_p73_a_cursor_that_is_no_number_is_an_invalid_request(served: LabelMethods, cursor: str) -> None:
    with pytest.raises(XrpcError) as caught:
        subscribe(served, ("cursor", cursor))
    assert caught.value.name == "InvalidRequest"


async def test_p75_no_gap_and_no_repeat_while_writers_write(
    served: LabelMethods, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_log, "PAGE", 7)
    await append(*(f"{ALICE}{number}" for number in range(50)))

    async def write() -> None:
        for number in range(50, 100, 5):
            await append(*(f"{ALICE}{number + offset}" for offset in range(5)))
            await asyncio.sleep(0.001)

    readers = [take(subscribe(served, ("cursor", str(cursor))), 100 - cursor) for cursor in (0, 3, 49)]
    _, *read = await asyncio.gather(write(), *readers)
    assert [seqs(frames) for frames in read] == [list(range(cursor + 1, 101)) for cursor in (0, 3, 49)]


async def test_p75_who_was_slow_at_the_end_of_a_page_misses_nothing_that_others_read_past_it(
    served: LabelMethods, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_log, "PAGE", 7)
    await append(*(f"{ALICE}{number}" for number in range(5)))
    slow = subscribe(served, ("cursor", "0"))
    await take(slow, 5)  # a page that was not full then
    await append(*(f"{ALICE}{number}" for number in range(5, 10)))
    assert seqs(await take(subscribe(served, ("cursor", "7")), 3)) == [8, 9, 10]
    assert seqs(await take(slow, 5)) == [6, 7, 8, 9, 10]


async def test_p76_a_subscriber_that_does_not_read_holds_nothing(
    served: LabelMethods, append: Append, store: Store
) -> None:
    """Stopped in the middle of a page it keeps no connection: many more than there are readers can stand still."""
    await append(*(f"{ALICE}{number}" for number in range(10)))
    stuck = [subscribe(served, ("cursor", "0")) for _ in range(20)]
    for frames in stuck:
        await take(frames, 1)
    async with asyncio.timeout(20):
        assert len(uris(await query(served, ("uriPatterns", "*")))) == 10
    for frames in stuck:
        assert seqs(await take(frames, 9)) == list(range(2, 11))
