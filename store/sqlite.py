"""SQLite behind the engine protocol: one writer, a few readers, one process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path

import aiosqlite
from aiosql.utils import VAR_REF

from core.errors import Corrupt, Misconfigured, StoreBusy
from store.engine import Parameters, Row

_BUSY_TIMEOUT_MS = 5000
# The log is folded into the file every 16 MB instead of 4: what is written often is so written once more less often.
_WRITING = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 4000")


class _TypedErrors:
    """Locked files and broken files become our errors; anything else is a bug and stays what it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, sqlite3.DatabaseError):
            return
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes keep the primary one in the low byte
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusy(
                f"{self._path} is locked by another program for over {_BUSY_TIMEOUT_MS} ms: {error}"
            ) from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Corrupt(f"{self._path} is not a sound database ({error}): restore a backup") from error


async def _see_through(operation: Awaitable[object]) -> None:
    """Wait until the operation has ended even if this task is cancelled meanwhile, then let the cancellation go on."""
    task = asyncio.ensure_future(operation)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


@cache
def _numbered(sql: str) -> tuple[str, Callable[[Parameters], Row]]:
    """The statement with `?1` for the first of its names, and what brings parameters into that order.

    For many rows: sqlite3 looks each name up anew in each row, which takes as long as the rest of an insert.
    """
    places: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found["var_name"]  # none in a quoted text
        return found[0] if name is None else f"{found['lead']}?{places.setdefault(name, len(places) + 1)}"

    text = VAR_REF.sub(number, sql)
    return text, itemgetter(*places) if len(places) > 1 else lambda row: tuple(row[name] for name in places)


class SqliteSession:
    """One connection. Each call is one hop to its thread."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        with _TypedErrors(self._path):
            rows: Iterable[Row] = await self._connection.execute_fetchall(sql, parameters)  # type: ignore[assignment]
            return list(rows)

    async def run_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        numbered, in_order = _numbered(sql)
        with _TypedErrors(self._path):
            # Nothing is left open in the cursor: closing it is a hop.
            await self._connection.executemany(numbered, map(in_order, rows))

    async def rollback(self) -> None:
        """Leave the connection without a transaction, whatever happened before."""
        await _see_through(self._connection.rollback())

    async def commit(self) -> None:
        with _TypedErrors(self._path):
            await _see_through(self._connection.commit())

    async def interrupt(self) -> None:
        """Stop the statement that runs now, if any."""
        await self._connection.interrupt()


class SqliteEngine:
    """One file in WAL mode. Writers queue for the one writing connection; readers have their own, read-only.

    The writer runs with synchronous=FULL: losing the newest commits in a power cut would issue label numbers twice that
    subscribers have already seen (P66). Writers come one at a time through `write`, so coalescing them into one commit
    is a change here and nowhere else.
    """

    driver = "aiosqlite"
    # BINARY is SQLite's default order; an `integer` key is the row's own number; there is one writer, nothing to skip.
    tokens: Mapping[str, str] = {"bytewise": "", "number": "integer", "skip_locked": ""}

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, readers: Sequence[aiosqlite.Connection], *, alone: bool
    ) -> None:
        """`alone`: we hold the lock, so whatever is written is written here."""
        self._path = path
        self._typed_errors = _TypedErrors(path)
        self._peeking = sqlite3.connect(path, isolation_level=None)
        self._peeking.execute("PRAGMA query_only = ON")
        # Between our own transactions nobody else writes, so peeks share one snapshot: opening one costs more than most
        # statements. Not while one of ours runs: a snapshot that is always open would keep the log from starting anew.
        self._quiet = alone
        self._writer = SqliteSession(writer, path)
        self._turn = asyncio.Lock()
        self._idle: asyncio.LifoQueue[SqliteSession] = asyncio.LifoQueue()
        for connection in readers:
            self._idle.put_nowait(SqliteSession(connection, path))
        self._lifetime = AsyncExitStack()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, readers: int = 2) -> SqliteEngine:
        """Creates the file if need be. Raises Misconfigured when another process has it, Corrupt, StoreBusy."""
        path.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            _lock(path, stack)
            with _TypedErrors(path):
                writer = await _connect(path, stack, _WRITING)
                # Runs before the writer is closed: the log is folded into the file, so a backup is one file.
                stack.push_async_callback(_checkpoint, writer)
                pool = [await _connect(path, stack, ["PRAGMA query_only = ON"]) for _ in range(max(1, readers))]
            engine = cls(path, writer, pool, alone=True)
            engine._lifetime = stack.pop_all()
            return engine

    @classmethod
    async def open_to_read(cls, path: Path) -> SqliteEngine:
        """One read-only connection beside whoever writes; no lock. Raises Misconfigured when there is no such file."""
        if not path.is_file():
            raise Misconfigured("storage.folder", f"no database {path}: nothing has run with these settings yet")
        async with AsyncExitStack() as stack:
            with _TypedErrors(path):
                connections = [await _connect(path, stack, ["PRAGMA query_only = ON"]) for _ in range(2)]
            engine = cls(path, connections[0], connections[1:], alone=False)
            engine._lifetime = stack.pop_all()
            return engine

    @property
    def address(self) -> str:
        return str(self._path.absolute())

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqliteSession]:
        async with self._turn:
            self._refuse_when_closed()
            quiet, self._quiet = self._quiet, False
            self._peeking.rollback()
            try:
                await self._writer.fetch("BEGIN IMMEDIATE", {})
                yield self._writer
                await self._writer.commit()
            except BaseException:
                # Also when BEGIN or COMMIT were cancelled: the thread runs calls in order, so this comes after them.
                await self._writer.rollback()
                raise
            finally:
                self._quiet = quiet

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteSession]:
        self._refuse_when_closed()
        session = await self._idle.get()
        try:
            self._refuse_when_closed()
            await session.fetch("BEGIN", {})
            yield session
        except asyncio.CancelledError:
            await session.interrupt()  # nobody waits for the answer any more
            raise
        finally:
            try:
                if not self._closed:
                    await session.rollback()
            finally:
                self._idle.put_nowait(session)

    async def peek(self, sql: str, parameters: Parameters) -> list[Row]:
        # On this very thread: the statement takes some 15 microseconds, a hop to another thread and back 60.
        self._refuse_when_closed()
        with self._typed_errors:
            if self._quiet and not self._peeking.in_transaction:
                self._peeking.execute("BEGIN")
            return self._peeking.execute(sql, parameters).fetchall()

    async def close(self) -> None:
        async with self._turn:
            self._closed = True
            self._peeking.close()
            await self._lifetime.aclose()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeError(f"the store {self._path} is closed")


def is_locked(path: Path) -> bool:
    """Whether some process has the database open to write."""
    try:
        descriptor = os.open(_lock_path(path), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path, stack: AsyncExitStack) -> None:
    """Hold a lock file beside the database while the stack lives. The kernel frees it if the process dies."""
    descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise Misconfigured(
            "storage.folder", f"{path} is in use by process {owner}; stop that one first or give this one its own file"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


async def _connect(path: Path, stack: AsyncExitStack, pragmas: Sequence[str]) -> aiosqlite.Connection:
    """A connection without implicit transactions, closed with the stack."""
    connection = await aiosqlite.connect(path, isolation_level=None)
    stack.push_async_callback(connection.close)
    for pragma in (f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}", "PRAGMA foreign_keys = ON", *pragmas):
        await connection.execute_fetchall(pragma)
    return connection


async def _checkpoint(writer: aiosqlite.Connection) -> None:
    await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
