"""The SQL files themselves: commented, used, portable."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import store
from store.engine import load_statements
from store.sqlite import SqliteEngine

ROOM = Path(store.__file__).parent
SQL_FILES = sorted([*ROOM.glob("sql/*.sql"), *ROOM.glob("migrations/*.sql")])

# Words that mean one engine only, or that mean different things on the two.
FOREIGN = re.compile(
    r"INSERT OR|REPLACE INTO|\browid\b|AUTOINCREMENT|WITHOUT ROWID|\bIFNULL\b|\bGLOB\b|\bLIKE\b|datetime\(|strftime|"
    r"julianday|json_|\bPRAGMA\b|::|\bILIKE\b|\bSERIAL\b|NOW\(\)|\?",
    re.IGNORECASE,
)


def _code(path: Path) -> str:
    return "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("--"))


@pytest.mark.parametrize("path", SQL_FILES, ids=lambda path: path.name)
def test_no_statement_speaks_one_engines_dialect(path):
    assert not FOREIGN.search(_code(path))


def test_every_statement_is_used_and_every_name_exists():
    source = "\n".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))
    statements = set(load_statements(SqliteEngine))
    files = "|".join(sorted({name.partition(".")[0] for name in statements}))
    assert set(re.findall(rf'"((?:{files})\.\w+)"', source)) == statements


def test_what_returns_rows_is_not_called_for_its_effect():
    """RETURNING says whether a statement found its row; `run` would throw that away."""
    source = "\n".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))
    effects = set(re.findall(r'\.run(?:_many)?\(\s*"(\w+\.\w+)"', source))
    statements = load_statements(SqliteEngine).items()
    asking = ("SELECT", "WITH")
    assert effects == {name for name, sql in statements if not sql.startswith(asking) and "RETURNING" not in sql}
