"""What a database engine has to offer, and the statements that run on it. No engine is named here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import resources
from typing import Any, Protocol

import aiosql

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class Source(Protocol):
    """What answers statements."""

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        """Run one statement; all its rows, also those of RETURNING, read to the end. Raises StoreBusy, Corrupt."""
        ...


class Session(Source, Protocol):
    """One connection inside one transaction."""

    async def run_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        """Run one statement for each row of parameters, in order."""
        ...


class Engine(Protocol):
    """Opens transactions. `driver` is aiosql's name of it; `tokens` are the few words that differ between engines."""

    @property
    def driver(self) -> str: ...

    @property
    def tokens(self) -> Mapping[str, str]: ...

    @property
    def address(self) -> str:
        """What another process opens the same database by."""
        ...

    def write(self) -> AbstractAsyncContextManager[Session]:
        """A transaction that commits when the block ends and rolls back when it raises or is cancelled."""
        ...

    def read(self) -> AbstractAsyncContextManager[Session]:
        """A transaction that only reads, and reads one snapshot."""
        ...

    async def peek(self, sql: str, parameters: Parameters) -> list[Row]:
        """The rows of one statement that only reads, without a transaction around it: the quickest way to ask."""
        ...

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        ...


def fill_tokens(text: str, tokens: Mapping[str, str]) -> str:
    """The text with each `{token}` replaced by the engine's word. Other braces stay."""
    for token, word in tokens.items():
        text = text.replace("{" + token + "}", word)
    return text


def load_statements(engine: Engine) -> dict[str, str]:
    """Statement texts by `file.name`, read by aiosql from `store/sql` in the form that the engine's driver takes."""
    statements: dict[str, str] = {}
    for path in sorted(resources.files("store").joinpath("sql").iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".sql"):
            continue
        queries = aiosql.from_str(fill_tokens(path.read_text("utf-8"), engine.tokens), engine.driver)
        for name in queries.available_queries:
            if not name.endswith("_cursor"):
                statements[f"{path.name.removesuffix('.sql')}.{name}"] = getattr(queries, name).sql
    return statements


class Reader:
    """One consistent snapshot. Statements go by name: `tracks.get` is the statement `get` of `sql/tracks.sql`."""

    def __init__(self, session: Source, statements: Mapping[str, str]) -> None:
        self._session = session
        self._statements = statements

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        """All rows."""
        return await self._session.fetch(self._statements[name], parameters)

    async def row(self, name: str, /, **parameters: Any) -> Row | None:
        """The first row, or None."""
        rows = await self._session.fetch(self._statements[name], parameters)
        return rows[0] if rows else None

    async def value(self, name: str, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self._session.fetch(self._statements[name], parameters)
        return rows[0][0] if rows else None


class Tx(Reader):
    """A transaction that writes. It ends with the block that opened it."""

    def __init__(self, session: Session, statements: Mapping[str, str]) -> None:
        super().__init__(session, statements)
        self._writing = session
        self.rung: dict[str, None] = {}  # topics in the order they were first rung

    async def run(self, name: str, /, **parameters: Any) -> None:
        """Run a statement for its effect."""
        await self._session.fetch(self._statements[name], parameters)

    async def run_many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row of parameters."""
        if rows:
            await self._writing.run_many(self._statements[name], rows)

    def ring(self, topic: str) -> None:
        """Ring the bell for "job", "verdict", "label" or "vector" once this transaction has committed."""
        self.rung[topic] = None
