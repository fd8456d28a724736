"""One Node server as a child process: started, read, stopped, killed, held still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.network.install import Installed

START_SECONDS = 60.0
STOP_SECONDS = 15.0
MAIL_SECONDS = 15.0


class NodeServer:
    """`server.mjs` with these words; what it tells in JSON lines is kept. It dies with us."""

    def __init__(self, installed: Installed, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self._command = (
            str(installed.node),
            str(Path(__file__).with_name("server.mjs")),
            str(installed.folder),
            *words,
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PDS_", "NODE_"))}
        self._environment = inherited | dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def start(self) -> None:
        """Returns once it listens; its own errors go to our stderr, where pytest shows them."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, env=self._environment, limit=1 << 20
        )
        self._reading = asyncio.create_task(self._read(self._process))
        told = await asyncio.wait_for(self._told.get(), START_SECONDS)
        assert told.get("ready"), f"{self._command[3:]} ended before it listened"

    async def mail(self, name: str, to: str) -> dict[str, Any]:
        """The next mail of this template to this address; others are thrown away."""
        async with asyncio.timeout(MAIL_SECONDS):
            while True:
                told = await self._told.get()
                if (told.get("mail"), told.get("to")) == (name, to):
                    return told

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM lets it finish, SIGKILL does not. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
        assert self._reading is not None
        await self._reading
        self._told = asyncio.Queue()

    @contextlib.contextmanager
    def held(self) -> Any:
        """It takes connections and answers nothing, as a machine under far too much load."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"{"):
                self._told.put_nowait(orjson.loads(line))
        self._told.put_nowait({})
