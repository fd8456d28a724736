"""The store as other rooms hold it: transactions, snapshots, and the bell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.clock import Clock
from store import labels
from store.bell import Bell
from store.engine import Engine, Reader, Tx, load_statements
from store.migrate import check_schema, migrate, packaged_migrations
from store.sqlite import SqliteEngine, is_locked


class _Peeks:
    """Single statements as a session."""

    def __init__(self, engine: Engine) -> None:
        self.fetch = engine.peek


class Store:
    """Opened once by the composition root; closed last."""

    def __init__(self, engine: Engine) -> None:
        self.bell = Bell()
        self._engine = engine
        self._statements = load_statements(engine)
        self._peek = Reader(_Peeks(engine), self._statements)

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, readers: int = 2) -> Store:
        """Opens or creates the file and migrates it.

        Raises Misconfigured when another process has it, Corrupt when it is damaged or newer than this code.
        """
        engine = await SqliteEngine.open(path, readers=readers)
        try:
            await migrate(engine, packaged_migrations(), now_us=clock.now_us())
            store = cls(engine)
            complete = False
            while not complete:
                async with store.write() as tx:
                    complete = await labels.complete(tx, 5_000)
            return store
        except BaseException:
            await engine.close()
            raise

    @classmethod
    async def open_to_read(cls, path: Path) -> Store:
        """Opens a store that a service may be using, for reading only: `write` fails.

        Raises Misconfigured when there is no such file, Corrupt when its schema is not the one of this code.
        """
        engine = await SqliteEngine.open_to_read(path)
        try:
            await check_schema(engine, packaged_migrations())
            return cls(engine)
        except BaseException:
            await engine.close()
            raise

    @staticmethod
    def is_in_use(path: Path) -> bool:
        """Whether another process, or this one, has the file open to write."""
        return is_locked(path)

    async def close(self) -> None:
        """Waits for the transaction under way. Idempotent."""
        await self._engine.close()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """Commits when the block ends; rolls back when it raises or is cancelled. One block at a time in this process,
        so never open one inside another. Bells noted with `Tx.ring` sound after the commit.
        """
        rung: dict[str, None] = {}
        try:
            async with self._engine.write() as session:
                tx = Tx(session, self._statements)
                yield tx
                rung = tx.rung
        finally:
            # Also when the task was cancelled while the commit went through. A needless ring does no harm.
            for topic in rung:
                self.bell.ring(topic)

    @property
    def peek(self) -> Reader:
        """A reader whose every statement is a snapshot of its own, in one hop: for answers that take one statement."""
        return self._peek

    @property
    def address(self) -> str:
        """What another process gives `open_to_read` to read the same store."""
        return self._engine.address

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """One consistent snapshot, taken at the first statement."""
        async with self._engine.read() as session:
            yield Reader(session, self._statements)
