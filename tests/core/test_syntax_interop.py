"""The interop files for identifiers and datetimes against our parsers (P12, P14, P204, P211)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.clock import parse_datetime
from core.dagcbor import cid_binary
from core.types import AtUri, parse_did, parse_nsid, parse_rkey, tid_microseconds

SHARED = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SYNTAX = SHARED / "protocol" / "interop" / "atproto-interop-tests" / "syntax"
pytestmark = pytest.mark.skipif(not SYNTAX.exists(), reason=f"interop files are not at {SYNTAX}")

PARSERS: dict[str, Callable[[str], object]] = {
    "did": parse_did,
    "nsid": parse_nsid,
    "recordkey": parse_rkey,
    "tid": tid_microseconds,
    "datetime": parse_datetime,
}


def lines(name: str) -> Iterator[str]:
    for line in (SYNTAX / name).read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            yield line


@pytest.mark.parametrize("kind", PARSERS)
def test_valid_values_parse(kind: str) -> None:
    values = list(lines(f"{kind}_syntax_valid.txt"))
    assert values
    for value in values:
        PARSERS[kind](value)


@pytest.mark.parametrize("name", [*(f"{kind}_syntax_invalid.txt" for kind in PARSERS), "datetime_parse_invalid.txt"])
def test_invalid_values_are_refused(name: str) -> None:
    accepted = []
    for value in lines(name):
        try:
            PARSERS[name.partition("_")[0]](value)
        except ValueError:
            continue
        accepted.append(value)
    assert accepted == []


def test_P14_at_uris_of_records_parse_and_all_others_are_refused() -> None:
    """Ours names a record by DID: handles, and addresses of less than a record, are refused too."""
    parsed = 0
    for value in lines("aturi_syntax_valid.txt"):
        parts = value.removeprefix("at://").split("/")
        if len(parts) == 3 and parts[0].startswith("did:"):
            assert str(AtUri.parse(value)) == value
            parsed += 1
        else:
            with pytest.raises(ValueError, match=r"not a"):
                AtUri.parse(value)
    assert parsed
    for value in lines("aturi_syntax_invalid.txt"):
        with pytest.raises(ValueError, match=r"not a"):
            AtUri.parse(value)


def test_invalid_cids_are_refused() -> None:
    for value in lines("cid_syntax_invalid.txt"):
        with pytest.raises(ValueError, match="CID"):
            cid_binary(value)
