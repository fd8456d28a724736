"""HTTP load onto a server of another process, over many connections.

`python -m bench.load PORT SUBJECTS`: asks queryLabels for one subject after another until stdin closes, then prints how
many answers came and how long the worst of them took, in seconds. Says "asking" first, once an answer has come.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator

from bench.label_server import query_path, subject

STEP = 7_919  # prime to the number of subjects: neighbours are not asked for one after another


async def get(
    port: int,
    paths: Iterator[str],
    *,
    connections: int,
    seconds: float,
    headers: str = "",
    tokens: Iterator[str] | None = None,
    rate: float | None = None,
) -> tuple[int, list[float]]:
    """Keep `connections` busy for that long, each with one request at least: how many were answered with 200, and the
    seconds each took.

    `tokens`: one a request, until there are no more. `rate`: so many requests a second in all, not as many as can be.
    """
    took: list[float] = []
    until = time.monotonic() + seconds

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = time.monotonic() + (number / rate if rate else 0.0)
        began = 0.0
        while began < until:
            if rate:
                await asyncio.sleep(due - time.monotonic())
                due += connections / rate
            token = None if tokens is None else next(tokens, None)
            if tokens is not None and token is None:
                break
            authorization = f"Authorization: Bearer {token}\r\n" if token else ""
            began = time.monotonic()
            head = f"GET {next(paths)} HTTP/1.1\r\nHost: localhost\r\n{headers}{authorization}\r\n"
            writer.write(head.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answers {head[:60]!r}")
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            took.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(connection(number) for number in range(connections)))
    return len(took), took


async def _worst(port: int, subjects: int) -> None:
    paths = (query_path(subject(number * STEP % subjects)) for number in itertools.count())
    _, took = await get(port, paths, connections=1, seconds=0.001)
    print("asking", flush=True)
    stopped = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not stopped.done():
        took += (await get(port, paths, connections=1, seconds=0.001))[1]
        await asyncio.sleep(0.005)
    print(len(took), max(took))


if __name__ == "__main__":
    asyncio.run(_worst(int(sys.argv[1]), int(sys.argv[2])))
