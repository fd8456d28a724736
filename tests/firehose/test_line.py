"""One websocket connection against a server that breaks the rules of RFC 6455, floods, or is cut off."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from firehose import handshake
from firehose.handshake import open_line
from firehose.line import Dropped, Line

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LIMIT = 100_000


class Reading:
    """A line to a server that sends the bytes given, and what its skimmer is asked: it passes what starts with a zero,
    and takes the second byte for its number.
    """

    def __init__(self, raw: Any, *, limit: int = LIMIT) -> None:
        self.skimmed: list[bytes] = []
        self.runs: list[tuple[int, int]] = []
        self.line = Line(self.skim, lambda first, last: self.runs.append((first, last)), limit=limit)
        self.heard = asyncio.Queue[bytes]()  # by the server
        self._raw = raw

    def skim(self, message: bytes, caught_up: bool) -> int | None:
        self.skimmed.append(message)
        return message[1] if message[:1] == b"\x00" else None

    async def of(self, *chunks: bytes, leaves: bool = False) -> Line:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            while not leaves and (came := await reader.read(65_536)):
                self.heard.put_nowait(came)

        port = await self._raw.start(talk)
        await open_line(f"ws://127.0.0.1:{port}/", self.line, headers={})
        return self.line

    async def ending(self) -> Dropped:
        """What ends the line."""
        async with asyncio.timeout(20):
            try:
                while True:
                    await self.line.receive()
            except Dropped as error:
                await self.line.close()
                return error


@pytest.fixture
def reading(raw: Any) -> Reading:
    return Reading(raw)


async def received(line: Line, count: int) -> list[bytes | str]:
    async with asyncio.timeout(20):
        return [await line.receive() for _ in range(count)]


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.005)


async def test_messages_come_in_order_whole_or_in_pieces_and_with_control_frames_between(
    kit: Any, reading: Reading
) -> None:
    frame, long = kit.ws_frame, bytes(range(1, 256)) * 300
    said = (
        frame(BINARY, b"one"),
        frame(BINARY, b"t", last=False) + frame(CONTINUATION, b"", last=False) + frame(PING, b"?"),
        frame(CONTINUATION, b"wo"),
        frame(TEXT, "dr\u00e9i".encode()[:3], last=False) + frame(CONTINUATION, "dr\u00e9i".encode()[3:]),
        frame(BINARY, b""),
        frame(PONG),
        frame(BINARY, long),
    )
    line = await reading.of(b"".join(said)[:3], b"".join(said)[3:])
    assert await received(line, 5) == [b"one", b"two", "dr\u00e9i", b"", long]
    assert reading.skimmed == [b"one", b"two", b"", long]
    assert (line.messages, line.signs) == (5, 2)
    await line.close()


async def test_what_is_skimmed_wakes_nobody_and_a_busy_reader_gets_the_run_in_its_turn(
    kit: Any, reading: Reading
) -> None:
    numbered = [kit.ws_frame(BINARY, bytes((0, number))) for number in range(8)]
    read = [kit.ws_frame(BINARY, b"a"), kit.ws_frame(BINARY, b"b")]
    line = await reading.of(b"".join((read[0], *numbered[:3], read[1], *numbered[3:])))
    assert await received(line, 1) == [b"a"]
    assert reading.runs == []
    assert await received(line, 1) == [b"b"]
    assert reading.runs == [(0, 2)]
    line.end(Dropped("enough"))
    assert str(await reading.ending()) == "enough"
    assert reading.runs == [(0, 2), (3, 7)]
    assert line.messages == 10


BROKEN: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "reserved bits": ("reserved bits", lambda frame: frame(BINARY, b"\0\1", reserved=4)),
    "another reserved bit": ("reserved bits", lambda frame: frame(PING, reserved=1)),
    "masked": ("masked", lambda frame: frame(BINARY, b"\0\1", masked=True)),
    "unknown opcode": ("opcode", lambda frame: frame(3, b"\0\1")),
    "unknown control": ("opcode", lambda frame: frame(11)),
    "the rest of nothing": ("never began", lambda frame: frame(CONTINUATION, b"\0\1")),
    "within a message": ("within", lambda frame: frame(BINARY, b"\0\1", last=False) + frame(BINARY, b"\0\2")),
    "control in pieces": ("fragmented", lambda frame: frame(PING, last=False)),
    "long control": ("125", lambda frame: frame(PING, bytes(126))),
    "long close": ("125", lambda frame: frame(CLOSE, b"\x03\xe8" + bytes(200))),
    "half a close code": ("close code", lambda frame: frame(CLOSE, b"\x03")),
    "close code 1": ("close code", lambda frame: frame(CLOSE, b"\x00\x01")),
    "close code 1005": ("close code", lambda frame: frame(CLOSE, b"\x03\xed")),
    "close reason": ("UTF-8", lambda frame: frame(CLOSE, b"\x03\xe8\xff")),
    "text": ("UTF-8", lambda frame: frame(TEXT, b"\xff")),
    "length of too many bits": ("length", lambda frame: b"\x82\x7f" + (2**63).to_bytes(8)),
    "long form of a short length": ("payload len", lambda frame: b"\x82\x7e\x00\x05hello"),
    "clean close": (r"server \(1000\)", lambda frame: frame(CLOSE, b"\x03\xe8bye")),
    "close of an application": (r"server \(4999\)", lambda frame: frame(CLOSE, b"\x13\x87")),
    "close without a code": (r"server \(1005\)", lambda frame: frame(CLOSE)),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_came_before_the_end_is_read_and_nothing_after_it(kit: Any, reading: Reading, broken: str) -> None:
    """Only whole binary messages are skimmed, whatever else may look like one."""
    reason, bad = BROKEN[broken]
    line = await reading.of(kit.ws_frame(BINARY, b"before") + bad(kit.ws_frame) + kit.ws_frame(BINARY, b"\0\3"))
    assert await received(line, 1) == [b"before"]
    ended = await reading.ending()
    assert not ended.poison
    with pytest.raises(Dropped, match=reason):
        raise ended
    assert [message for message in reading.skimmed if message[:1] == b"\0"] == []


async def test_the_end_of_the_bytes_is_the_end_of_the_line(kit: Any, reading: Reading) -> None:
    line = await reading.of(kit.ws_frame(BINARY, b"a") + kit.ws_frame(BINARY, b"cut off")[:4], leaves=True)
    assert await received(line, 1) == [b"a"]
    assert str(await reading.ending()) == "closed by the server (1006)"


@pytest.mark.parametrize("opcode", [BINARY, TEXT])
@pytest.mark.parametrize("pieces", [1, 4])
async def test_a_message_over_the_limit_is_poison_and_one_at_the_limit_is_not(
    kit: Any, raw: Any, opcode: int, pieces: int
) -> None:
    def message(size: int) -> bytes:
        part = b"x" * (size // pieces)
        frames = [kit.ws_frame(opcode, part, last=False), *[kit.ws_frame(0, part, last=False)] * (pieces - 2)]
        rest = b"x" * (size - (pieces - 1) * len(part))
        return b"".join(frames if pieces > 1 else ()) + kit.ws_frame(0 if pieces > 1 else opcode, rest)

    reading = Reading(raw)
    line = await reading.of(message(LIMIT), message(LIMIT + 1), kit.ws_frame(BINARY, b"\0\1"))
    (first,) = await received(line, 1)
    assert len(first) == LIMIT
    assert (await reading.ending()).poison
    assert b"\0\1" not in reading.skimmed


async def test_a_frame_that_only_says_it_is_huge_is_not_waited_for(raw: Any) -> None:
    reading = Reading(raw)
    await reading.of(b"\x82\x7f" + (2**62).to_bytes(8))
    assert (await reading.ending()).poison


async def test_a_reader_who_is_slow_slows_the_server_and_loses_nothing(kit: Any, raw: Any) -> None:
    count, size = 1000, 50_000  # more than all the buffers of two sockets
    reading = Reading(raw)
    messages = [b"%d" % number + bytes(size) for number in range(count)]
    line = await reading.of(*(kit.ws_frame(BINARY, message) for message in messages))
    transport = line._transport.underlying_transport
    await until(lambda: not transport.is_reading())
    await asyncio.sleep(0.2)
    assert line.messages * size < 1_000_000
    assert await received(line, count) == messages
    await line.close()


async def test_a_ping_is_answered_and_a_flood_of_them_from_who_reads_nothing_is_not_kept(
    kit: Any, raw: Any, reading: Reading
) -> None:
    await reading.of(kit.ws_frame(PING, b"are you there?"))
    came = await asyncio.wait_for(reading.heard.get(), 20)
    masked, mask = came[6:], came[2:6]
    assert (came[0], came[1]) == (0x80 | PONG, 0x80 | 14)
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) == b"are you there?"
    await reading.line.close()

    count, sent = 200_000, asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count // 500):
            writer.write(kit.ws_frame(PING, bytes(125)) * 500)
            await writer.drain()
        await sent.wait()

    line = Reading(raw).line
    await open_line(f"ws://127.0.0.1:{await raw.start(flood)}/", line, headers={})
    await until(lambda: line.signs == count)
    assert line._transport.underlying_transport.get_write_buffer_size() < 200_000
    sent.set()
    await line.close()


async def test_what_is_said_to_who_does_not_read_waits_and_ends_with_the_line(raw: Any) -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    line = Reading(raw).line
    await open_line(f"ws://127.0.0.1:{await raw.start(deaf)}/", line, headers={})

    async def speak() -> None:
        while True:
            await line.send("x" * 50_000)

    speaking = asyncio.create_task(speak())
    await until(lambda: not line._writable.is_set())
    assert line._transport.underlying_transport.get_write_buffer_size() < 200_000
    line.ping()
    line.end(Dropped("enough"))
    with pytest.raises(ConnectionError, match="enough"):
        await speaking
    await line.close()


STAGES = ("tls", "handshake", "refusal", "idle", "busy", "flooded")


@pytest.mark.parametrize("stage", STAGES)
async def test_a_reader_that_is_cancelled_leaves_no_task_and_no_socket(kit: Any, raw: Any, stage: str) -> None:
    """Whatever it waited for: the server sees the end, and nobody warns."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if stage == "refusal" and len(raw.requests) == 1:
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n")
            return
        writer.write({"handshake": b"HTTP/1.1 101 Sw", "busy": kit.ws_frame(BINARY, b"x")}.get(stage, b""))
        reached.set()
        with suppress(ConnectionError):
            while stage == "flooded":
                writer.write(kit.ws_frame(BINARY, bytes(10_000)))
                await writer.drain()
            while await reader.read(65_536):
                pass
        left.set()

    async def read() -> None:
        line = Reading(raw).line
        await open_line(f"{'wss' if stage == 'tls' else 'ws'}://127.0.0.1:{port}/", line, headers={})
        try:
            while True:
                await line.receive()
                if stage in ("busy", "flooded"):
                    await asyncio.Event().wait()
        finally:
            await line.close()

    if stage == "tls":  # whoever answers nothing at all

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            while await reader.read(65_536):
                pass
            left.set()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    else:
        port = await raw.start(talk, opens=stage in ("idle", "busy", "flooded"))
    before = asyncio.all_tasks()
    reader = asyncio.create_task(read())
    await asyncio.wait_for(reached.wait(), 20)
    await asyncio.sleep(0.1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.wait_for(left.wait(), 20)
    if stage == "tls":
        server.close()
    await raw.stop()
    await until(lambda: asyncio.all_tasks() <= before)
    gc.collect()


async def test_a_slow_reader_of_a_connection_that_is_closed_already_gets_what_came(
    kit: Any, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's TLS cannot be asked to read on once it was closed twice."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.ws_frame(BINARY, b"a") + kit.ws_frame(BINARY, b"b"))
        await reader.read()

    tls = kit.trusted_server(tmp_path, monkeypatch)
    reading = Reading(raw)
    await open_line(f"wss://localhost:{await raw.start(talk, tls=tls)}/", reading.line, headers={})
    await until(lambda: reading.line.messages == 2)
    for _ in range(2):  # as picows does after two bad frames
        reading.line._transport.disconnect()
    assert await received(reading.line, 2) == [b"a", b"b"]
    assert str(await reading.ending()) == "closed by the server (1006)"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("moment", ["the answer is on its way", "it has come"])
async def test_opening_is_cancelled_just_when_it_succeeds(
    kit: Any, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, tls: bool
) -> None:
    context = kit.trusted_server(tmp_path, monkeypatch) if tls else None
    left = asyncio.Event()

    class Agreed(Line):
        def on_ws_connected(self, transport: Any) -> None:
            super().on_ws_connected(transport)
            opening.cancel()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.ws_frame(BINARY, b"x") * 100)
        if moment != "it has come":
            opening.cancel()
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        left.set()

    port = await raw.start(talk, tls=context)
    before = asyncio.all_tasks()
    line = (Agreed if moment == "it has come" else Line)(
        lambda frame, caught_up: None, lambda first, last: None, limit=9
    )
    opening = asyncio.create_task(open_line(f"ws{'s' if tls else ''}://localhost:{port}/", line, headers={}))
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.wait_for(left.wait(), 20)
    await raw.stop()
    await until(lambda: asyncio.all_tasks() <= before)


async def test_an_answer_that_never_ends_is_not_waited_for(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "CONNECT_SECONDS", 0.2)
    left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"x: y\r\n" * 10_000:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.01)
        left.set()

    with pytest.raises(TimeoutError):
        await open_line(f"ws://127.0.0.1:{await raw.start(drip, opens=False)}/", Reading(raw).line, headers={})
    await asyncio.wait_for(left.wait(), 20)
