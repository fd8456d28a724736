"""Frames of a relay end to end over a real websocket: our relay client as it runs in the service, against the SDK's.

Ours proves every music commit on the way; the SDK's client proves nothing. The server is a process of its own that
sends recorded bytes as fast as the reader takes them. Goal: 15 times as many frames a CPU second (stretch: 25).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import Any

from bench.stream import MUSIC, Recorded, read_stream, record_stream
from bench.worker import Worker, serve

BURST_BYTES = 256 * 1024


def run(*, short: bool) -> dict[str, Any]:
    """`frames_per_cpu_second` of the reading process; `frames_per_second` by the clock. Rounds alternate, and the ratio
    is the median of each round's, since a busy machine's speed changes from one second to the next.
    """
    rounds, frames = (3, 10_000) if short else (9, 40_000)
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        record_stream(Path(folder), frames)
        wanted = len(read_stream(Path(folder)).music)
        with Worker("bench.socket", "server", folder) as server:
            port = server.ask()
            with Worker("bench.socket", "ours", folder) as ours, Worker("bench.socket", "sdk", folder) as sdk:
                told = [(ours.ask(port=port), sdk.ask(port=port)) for _ in range(rounds + 1)]
    for name, answers in zip(("ours", "sdk"), zip(*told, strict=True), strict=True):
        if any(answer["found"] != wanted for answer in answers):
            raise RuntimeError(f"{name} found {[answer['found'] for answer in answers]} of {wanted} music records")
    told = told[1:]  # the first warms up
    return {
        "metrics": _figures([one for one, _ in told], frames) | {"music_published": wanted, "frames": frames},
        "peer": _figures([one for _, one in told], frames),
        "ratio": {"frames_per_cpu_second": round(median(one["cpu"] / our["cpu"] for our, one in told), 1)},
    }


def _figures(answers: list[dict[str, Any]], frames: int) -> dict[str, Any]:
    return {
        "frames_per_cpu_second": round(median(frames / answer["cpu"] for answer in answers)),
        "frames_per_second": round(median(frames / answer["wall"] for answer in answers)),
        "music_found": answers[-1]["found"],
    }


def _serve_frames(stream: Recorded) -> None:
    """A websocket server that knows one answer: the whole stream."""
    bursts = [bytearray()]
    for frame in stream.frames:
        if len(bursts[-1]) > BURST_BYTES:
            bursts.append(bytearray())
        length = len(frame)
        head = bytes((0x82, length)) if length < 126 else bytes((0x82, 126)) + length.to_bytes(2)
        bursts[-1] += (head if length < 65_536 else bytes((0x82, 127)) + length.to_bytes(8)) + frame

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split()[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key:"))
        accepted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n")
        try:
            for burst in bursts:
                writer.write(burst)
                await writer.drain()
            await reader.read(1)  # until the reader has enough and says so
        except ConnectionError:
            pass
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(serve, lambda: port)

    asyncio.run(main())


def _serve_ours(stream: Recorded) -> None:
    from bench.identities import Known
    from core.clock import SystemClock
    from core.log import set_up
    from firehose.events import Interest, RecordEvent
    from firehose.mapping import load_mapping
    from firehose.relay import Relay

    interest, last = Interest(frozenset(load_mapping())), len(stream.frames)

    async def read(port: int) -> int:
        log, clock = set_up(level="critical"), SystemClock()
        relay = Relay(
            f"ws://127.0.0.1:{port}", interest, clock=clock, log=log, directory=Known(stream.keys), allow_loopback=True
        )
        found = 0
        async with aclosing(relay.stream(None)) as events:
            async for event in events:
                found += isinstance(event, RecordEvent) and event.collection == MUSIC and event.verified
                if event.position == last:
                    return found
        raise RuntimeError("the stream ended")

    def answer(port: int) -> dict[str, Any]:
        cpu, wall = time.process_time(), time.monotonic()
        found = asyncio.run(read(port))
        return {"found": found, "cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}

    serve(answer)


def _serve_sdk(stream: Recorded) -> None:
    from atproto import FirehoseSubscribeReposClient

    from bench.decode import sdk_finder

    find, last = sdk_finder(), len(stream.frames)

    def answer(port: int) -> dict[str, Any]:
        client = FirehoseSubscribeReposClient(base_uri=f"ws://127.0.0.1:{port}/xrpc")
        found = 0

        def take(message: Any) -> None:
            nonlocal found
            found += find(message)
            if message.body["seq"] == last:
                client.stop()

        cpu, wall = time.process_time(), time.monotonic()
        client.start(take)
        return {"found": found, "cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}

    serve(answer)


if __name__ == "__main__":
    served = {"server": _serve_frames, "ours": _serve_ours, "sdk": _serve_sdk}[sys.argv[1]]
    served(read_stream(Path(sys.argv[2])))
