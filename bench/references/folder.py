"""Where the references lie, for whoever makes and whoever measures them."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CLAP_FILES = ("audio_model.onnx", "audio_model_quantized.onnx", "text_model_quantized.onnx", "tokenizer.json")


def reference_folder() -> Path:
    """$EARMARK_REFERENCES, or `references` in the user's cache; it need not exist."""
    if chosen := os.environ.get("EARMARK_REFERENCES"):
        return Path(chosen)
    return platformdirs.user_cache_path("earmark") / "references"


def find_full_clap() -> Path | None:
    """The folder with full-size CLAP towers, whole; None until `make references` has run."""
    folder = reference_folder() / "clap"
    return folder if all((folder / name).is_file() for name in CLAP_FILES) else None
