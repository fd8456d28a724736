"""P41: what a former key signed is served with a new signature, which is stored; everything else is as it was."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from core.clock import format_datetime
from core.keys import SigningKey
from core.label import Label
from core.types import Did
from core.xrpc import Call, decode_params
from labeler import renewal
from labeler.frames import LabelsFrame, read_frame
from labeler.methods import LabelMethods
from labeler.renewal import Renewal
from labeler.signing import sign, verify
from store import Store, labels, served

SUBJECT = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"
NEW = SigningKey(bytes(range(2, 34)))


@pytest.fixture
async def stored(store: Store, key: SigningKey, src: Did, clock: Any) -> list[Label]:
    """Labels of the former key, one of them a negation, one with an end."""
    unsigned = [
        Label(src, f"{SUBJECT}{number}", "jazz", format_datetime(clock.now_us()), neg=number == 3)
        for number in range(12)
    ]
    unsigned.append(Label(src, f"{SUBJECT}x", "rock", format_datetime(clock.now_us()), exp="2099-01-01T00:00:00.000Z"))
    signed = [sign(label, key) for label in unsigned]
    async with store.write() as tx:
        await labels.append(tx, signed, key_id=key.public.did_key)
    return signed


async def ask(methods: LabelMethods, pattern: str) -> list[dict[str, Any]]:
    described = methods.query_labels
    answer = await described.answer(Call(decode_params(described.params, [("uriPatterns", pattern)])))
    assert isinstance(answer, bytes)
    page: list[dict[str, Any]] = orjson.loads(answer)["labels"]
    return page


async def replay(methods: LabelMethods, count: int) -> list[LabelsFrame]:
    described, frames = methods.subscribe_labels, []
    async with asyncio.timeout(10):
        async for batch in described.batches(Call(decode_params(described.params, [("cursor", "0")]))):
            wire = batch.wire
            while wire:
                length = int.from_bytes(wire[2:4])
                frame = read_frame(wire[4 : 4 + length])
                assert isinstance(frame, LabelsFrame)
                frames.append(frame)
                wire = wire[4 + length :]
            if len(frames) == count:
                break
    return frames


def same_but_for_the_signature(label: Any, before: Label) -> bool:
    given = {name: value for name, value in label.items() if name != "sig"}
    return given == {name: value for name, value in before.json_form().items() if name != "sig"}


async def test_p41_nothing_is_signed_anew_before_the_key_is_in_force(
    store: Store, src: Did, key: SigningKey, stored: list[Label]
) -> None:
    methods = LabelMethods(store, src=src, renewal=Renewal(store, src=src, key=NEW))
    assert all(verify(label, key.public) for label in await ask(methods, SUBJECT + "*"))
    assert all(verify(label, key.public) for frame in await replay(methods, 13) for label in frame.labels)
    assert store.bell.count("signature") == 0


async def test_p41_a_query_signs_what_it_serves_and_stores_it(store: Store, src: Did, stored: list[Label]) -> None:
    renew = Renewal(store, src=src, key=NEW)
    renew.under_way = True
    (label,) = await ask(LabelMethods(store, src=src, renewal=renew), SUBJECT + "3")
    assert verify(label, NEW.public)
    assert same_but_for_the_signature(label, stored[3])
    async with store.read() as r:
        rows = await labels.stream(r, after_seq=0, limit=100)
    assert [row.seq for row in rows if row.key_id == NEW.public.did_key] == [4]
    # A process without the new key serves it from the store.
    (label,) = await ask(LabelMethods(store, src=src), SUBJECT + "3")
    assert verify(label, NEW.public)


async def test_p41_a_query_of_what_is_renewed_waits_for_no_writer(store: Store, src: Did, stored: list[Label]) -> None:
    renew = Renewal(store, src=src, key=NEW)
    renew.under_way = True
    methods = LabelMethods(store, src=src, renewal=renew)
    before = await ask(methods, SUBJECT + "3")
    async with store.write(), asyncio.timeout(20):
        assert await ask(methods, SUBJECT + "3") == before


async def test_p41_p43_a_stream_signs_what_it_serves_also_what_it_had_encoded_before(
    store: Store, src: Did, key: SigningKey, stored: list[Label]
) -> None:
    renew = Renewal(store, src=src, key=NEW)
    methods = LabelMethods(store, src=src, renewal=renew)
    assert all(verify(label, key.public) for frame in await replay(methods, 13) for label in frame.labels)
    await renew.run()
    frames = await replay(methods, 13)
    assert [frame.seq for frame in frames] == list(range(1, 14))
    for frame, before in zip(frames, stored, strict=True):
        (label,) = frame.labels
        assert verify(label, NEW.public)
        assert same_but_for_the_signature(label, before)


async def test_p41_everything_is_renewed_in_the_background_and_once(
    store: Store, src: Did, key: SigningKey, stored: list[Label], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "SPAN", 5)
    monkeypatch.setattr(renewal, "_BATCH", 2)
    foreign = sign(Label("did:plc:xbtmt2zjwlrfegqvch7fboei", SUBJECT + "y", "jazz", stored[0].cts), key)
    async with store.write() as tx:
        await labels.append(tx, [foreign], key_id=key.public.did_key)
    renew = Renewal(store, src=src, key=NEW)
    await renew.run()
    assert not renew.under_way
    async with store.read() as r:
        rows = await labels.stream(r, after_seq=0, limit=100)
        assert await served.signed_otherwise(r, src=src, key_id=NEW.public.did_key, after_seq=0, last_seq=99) == []
    assert all(verify(row.label.json_form(), NEW.public) for row in rows[:-1])
    assert rows[-1].label == foreign  # P15: not ours to sign
    rung = store.bell.count("signature")
    await renew.run()
    assert store.bell.count("signature") == rung
