"""A vector index on disk: whole, as its manifest says, or ignored. The log of vectors has everything anyway."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from core.analysis import Space
from store.graph import Graph, Precision
from store.nearest import Nearest
from store.rows import Rows

_FORMAT = 4
_FOLDER_CHARACTERS = 16  # of a generation's name, enough to tell its checkpoint's folder from others
_MANIFEST = "manifest.json"
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError)  # raised for what is absent or not as we write it


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What the log says up to a number: `identity` tells which log."""

    identity: str
    watermark: int
    spaces: Mapping[Space, Nearest]


def folder_of(folder: Path, generation: str) -> Path:
    """Where the checkpoint of a generation lies in the folder of all."""
    return folder / generation[:_FOLDER_CHARACTERS]


def sweep_checkpoints(folder: Path, keep: Collection[str]) -> None:
    """Delete what lies in an index folder and is not the checkpoint of one of these generations."""
    names = {generation[:_FOLDER_CHARACTERS] for generation in keep}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            _delete(path)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Files under new names, then a manifest that says which count, then the old ones go. Raises OSError.

    What was being written when somebody was killed goes first: it may be what fills the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _sweep(folder, _read_manifest(folder))
    except _BROKEN:
        _sweep(folder, None)
    spaces = {space.value: _save_space(folder, checkpoint.watermark, one) for space, one in checkpoint.spaces.items()}
    manifest = {
        "format": _FORMAT,
        "store": checkpoint.identity,
        "watermark": checkpoint.watermark,
        "spaces": spaces,
    }
    part = folder / f"{_MANIFEST}.{os.getpid()}.part"
    part.write_bytes(orjson.dumps(manifest | {"sha256": _sum(manifest)}, option=orjson.OPT_INDENT_2))
    _rename_durably(part, folder / _MANIFEST)
    _sweep(folder, manifest)


def load(
    folder: Path, identity: str, dimensions: Mapping[Space, int], *, exact_below: int, to_read: bool
) -> Checkpoint | None:
    """The checkpoint of this log with these spaces, or None unless every part of it is as its manifest says."""
    try:
        manifest = _read_manifest(folder)
        if (manifest["format"], manifest["store"]) != (_FORMAT, identity):
            return None
        if set(manifest["spaces"]) != {space.value for space in dimensions}:
            return None
        spaces = {}
        for space, size in dimensions.items():
            entry = manifest["spaces"][space.value]
            rows = Rows.open(_verified(folder, entry["rows"]), int(entry["count"]), size)
            graph = _load_graph(folder, entry["graph"], size, to_read=to_read)
            spaces[space] = Nearest(space, rows, graph, int(entry["gaps"]), exact_below=exact_below)
        return Checkpoint(identity, int(manifest["watermark"]), spaces)
    except _BROKEN:
        return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    """As it was written. Raises what `_BROKEN` names: a watermark that says more than was applied would lose tracks."""
    manifest: dict[str, Any] = orjson.loads((folder / _MANIFEST).read_bytes())
    if manifest.pop("sha256") != _sum(manifest):
        raise ValueError(f"{_MANIFEST} is not what was written")
    return manifest


def _sum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _sweep(folder: Path, manifest: Mapping[str, Any] | None) -> None:
    """Delete what this manifest does not name."""
    spaces = () if manifest is None else manifest["spaces"].values()
    named = {entry[kind]["file"] for entry in spaces for kind in ("rows", "graph") if entry[kind]}
    for path in folder.iterdir():
        if path.name not in named | {_MANIFEST}:
            _delete(path)


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _save_space(folder: Path, watermark: int, nearest: Nearest) -> dict[str, Any]:
    graph = nearest.graph
    return {
        "count": len(nearest.rows),
        "rows": _save_file(folder, f"{nearest.space}.{watermark}.rows", lambda path: _write_rows(path, nearest.rows)),
        "gaps": nearest.gaps,
        "graph": graph
        and {
            **_save_file(folder, f"{nearest.space}.{watermark}.graph", graph.save),
            "precision": graph.precision.value,
            "middle": base64.b64encode(graph.middle.astype("<f4").tobytes()).decode(),
        },
    }


def _load_graph(folder: Path, entry: Mapping[str, Any] | None, dimensions: int, *, to_read: bool) -> Graph | None:
    if entry is None:
        return None
    path = _verified(folder, entry)
    middle = np.frombuffer(base64.b64decode(entry["middle"]), "<f4")
    if len(middle) != dimensions:
        raise ValueError(f"{path} is of another space")
    return Graph.open(path, dimensions, Precision(entry["precision"]), middle, to_read=to_read)


def _write_rows(path: Path, rows: Rows) -> None:
    with path.open("wb") as file:
        rows.write(file)


def _save_file(folder: Path, name: str, write: Callable[[Path], None]) -> dict[str, str]:
    part = folder / f"{name}.{os.getpid()}.part"
    write(part)
    sha256 = _sha256(part)
    _rename_durably(part, folder / name)
    return {"file": name, "sha256": sha256}


def _verified(folder: Path, entry: Mapping[str, Any]) -> Path:
    path = folder / Path(entry["file"]).name
    if _sha256(path) != entry["sha256"]:
        raise ValueError(f"{path} is not what was written")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename_durably(part: Path, path: Path) -> None:
    """The content reaches the disk before the name does."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
