"""Everything durable.

Owns the database, its schema, every SQL statement, and the vector index that is derived from it. Functions take the
transaction (`Tx`) or the snapshot (`Reader`); other rooms compose them, so what belongs together commits together.

Defends: numbers that others follow are gapless and never visible out of order; a verdict settles only if it is the one
that was published; at most one generation serves; a cursor never gets ahead of the work it stands for; one process
writes.
"""

from store import (
    accounts,
    actions,
    analyses,
    announcements,
    backfills,
    cursors,
    disputes,
    feedback,
    generations,
    holds,
    jobs,
    labels,
    links,
    mirrors,
    pages,
    posters,
    questions,
    repos,
    rulings,
    sequence,
    served,
    signals,
    tracks,
    unmapped,
    used_tokens,
    wishes,
)
from store.bell import Bell
from store.engine import Reader, Tx
from store.store import Store

__all__ = [
    "Bell",
    "Reader",
    "Store",
    "Tx",
    "accounts",
    "actions",
    "analyses",
    "announcements",
    "backfills",
    "cursors",
    "disputes",
    "dossiers",
    "feedback",
    "generations",
    "holds",
    "jobs",
    "labels",
    "links",
    "mirrors",
    "pages",
    "posters",
    "questions",
    "repos",
    "rulings",
    "sequence",
    "served",
    "signals",
    "tracks",
    "unmapped",
    "used_tokens",
    "wishes",
]
