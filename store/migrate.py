"""Numbered schema changes, each applied once, each in its own transaction, none ever edited."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from core.errors import Corrupt
from store.engine import Engine, Session, fill_tokens

_CREATE = """
CREATE TABLE IF NOT EXISTS migration (
    version bigint PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_us bigint NOT NULL
)
"""
_APPLIED = "SELECT version, sha256 FROM migration ORDER BY version"
_RECORD = "INSERT INTO migration (version, name, sha256, applied_us) VALUES (:version, :name, :sha256, :applied_us)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file `NNNN_name.sql`. The checksum is of the text as written, before tokens are filled in."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> list[str]:
        """The single statements: comment lines dropped, split at a semicolon that ends a line."""
        lines = [line for line in self.text.splitlines() if not line.lstrip().startswith("--")]
        return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", "\n".join(lines)) if part.strip()]


def packaged_migrations() -> list[Migration]:
    """Those that ship with the code, 1, 2, 3 and so on. Raises Corrupt if a number is missing or used twice."""
    paths = resources.files("store").joinpath("migrations").iterdir()
    found = [
        Migration(int(match[1]), match[2], path.read_text("utf-8"))
        for path in sorted(paths, key=lambda path: path.name)
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", path.name))
    ]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise Corrupt("the packaged migrations are not numbered 1, 2, 3 and so on: reinstall Earmark")
    return found


async def migrate(engine: Engine, migrations: Sequence[Migration], *, now_us: int) -> int:
    """Bring the schema up to date; the number of migrations applied.

    Raises Corrupt when the database is newer than this code or was made by a different text of a migration.
    """
    async with engine.write() as session:
        await session.fetch(_CREATE, {})
        applied: dict[int, str] = dict(await session.fetch(_APPLIED, {}))
    missing = _missing(applied, migrations)
    for migration in missing:
        async with engine.write() as session:
            await _apply(session, migration, engine, now_us)
    return len(missing)


async def check_schema(engine: Engine, migrations: Sequence[Migration]) -> None:
    """Whether the schema is the one of this code, without changing anything. Raises Corrupt."""
    async with engine.read() as session:
        missing = _missing(dict(await session.fetch(_APPLIED, {})), migrations)
    if missing:
        raise Corrupt(f"the database lacks migration {missing[0].version}: start the service once, it migrates")


def _missing(applied: Mapping[int, str], migrations: Sequence[Migration]) -> list[Migration]:
    known = {migration.version: migration for migration in migrations}
    for version, sha256 in applied.items():
        if version not in known:
            raise Corrupt(
                f"the database has schema {max(applied)}, this Earmark knows {len(known)}: run the newer Earmark again"
            )
        if known[version].sha256 != sha256:
            raise Corrupt(f"migration {version} ({known[version].name}) was changed after it was applied: reinstall")
    return [migration for migration in migrations if migration.version not in applied]


async def _apply(session: Session, migration: Migration, engine: Engine, now_us: int) -> None:
    for statement in migration.statements():
        await session.fetch(fill_tokens(statement, engine.tokens), {})
    record = {
        "version": migration.version,
        "name": migration.name,
        "sha256": migration.sha256,
        "applied_us": now_us,
    }
    await session.fetch(_RECORD, record)
