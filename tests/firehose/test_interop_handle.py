"""The interop file for handles against what a DID document's claim is read as (P208, P209)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.types import Did
from firehose.diddoc import read_document

DID = Did("did:plc:artist222222222222222222")


def lines(folder: Path, name: str) -> Iterator[str]:
    path = folder / "protocol" / "interop" / "atproto-interop-tests" / "syntax" / name
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            yield line


def claim_of(handle: str) -> str | None:
    return read_document(DID, {"id": DID, "alsoKnownAs": [f"at://{handle}"]}).handle_claim


def test_P209_valid_handles_are_read_in_lower_case(shared_data: Path) -> None:
    handles = list(lines(shared_data, "handle_syntax_valid.txt"))
    assert handles
    assert [handle for handle in handles if claim_of(handle) != handle.lower()] == []


def test_P209_invalid_handles_are_no_claim(shared_data: Path) -> None:
    handles = list(lines(shared_data, "handle_syntax_invalid.txt"))
    assert handles
    assert [handle for handle in handles if claim_of(handle) is not None] == []
