"""Writes stand-ins for effnet and clap into a folder, and the catalogue that declares them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec

from bench.graphs.clap import build_audio, build_text, build_tokenizer
from bench.graphs.effnet import build_effnet, build_head
from models.catalogue import Download, Pack, read_catalogue


def write_stand_ins(folder: Path, *, clap_layers: int = 2, full_clap: Path | None = None) -> Path:
    """Make `folder/effnet`, `folder/clap` and `folder/packs.json`; the path of the latter.

    `full_clap` is a folder with files of the clap pack (`make references` writes full-size ones), which are taken as
    they are. The catalogue is the built-in one with the stand-ins' sizes and hashes and no addresses; musicnn's
    declaration is the true one. `earmark models pull effnet clap --from FOLDER --catalogue FOLDER/packs.json` installs.
    """
    packs = tuple(
        pack if pack.wheel is not None else _stand_in(pack, folder / pack.name, clap_layers, full_clap)
        for pack in read_catalogue().values()
    )
    catalogue = folder / "packs.json"
    catalogue.write_bytes(msgspec.json.format(msgspec.json.encode(packs)))
    return catalogue


def _stand_in(pack: Pack, folder: Path, clap_layers: int, full_clap: Path | None) -> Pack:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for file in pack.files:
        path = folder / file.path
        if pack.name == "clap" and full_clap is not None:
            shutil.copyfile(full_clap / file.path, path)
        else:
            _build(path, clap_layers)
        files.append(_declare(file, path))
    return msgspec.structs.replace(pack, files=tuple(files))


def _build(path: Path, clap_layers: int) -> None:
    match path.name:
        case "discogs-effnet-bsdynamic-1.onnx":
            build_effnet(path)
        case "mtg_jamendo_moodtheme-discogs-effnet-1.onnx":
            build_head(path, 56)
        case name if name.endswith("-discogs-effnet-1.onnx"):
            build_head(path, 2)
        case "audio_model_quantized.onnx" | "audio_model.onnx" as name:
            build_audio(path, clap_layers, quantised="quantized" in name)
        case "text_model_quantized.onnx" | "text_model.onnx" as name:
            build_text(path, clap_layers, quantised="quantized" in name)
        case "tokenizer.json":
            build_tokenizer(path)
        case name:
            raise ValueError(f"nothing stands in for {name}")


def _declare(file: Download, path: Path) -> Download:
    content = path.read_bytes()
    return msgspec.structs.replace(file, url=None, size=len(content), sha256=hashlib.sha256(content).hexdigest())
