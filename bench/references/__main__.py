"""`python -m bench.references`: make what is missing, say where it is. `make references` runs it in its environment."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version

from bench.graphs.clap import build_tokenizer
from bench.references.folder import find_full_clap, reference_folder
from bench.references.make_mel_references import make

_MAKERS = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers")


def main() -> None:
    folder = reference_folder()
    stamp, made_by = folder / "made_by.json", {name: version(name) for name in _MAKERS}
    if not stamp.is_file() or json.loads(stamp.read_text()) != made_by or find_full_clap() is None:
        shutil.rmtree(folder / "clap", ignore_errors=True)
        stamp.unlink(missing_ok=True)
        _make()
        stamp.write_text(json.dumps(made_by, indent=1) + "\n")
    print(f"full-size CLAP towers with random weights, 270 MB:  {folder / 'clap'}")
    print(f"CLAP mel references:  {folder / 'clap_mel_references.npz'}")
    print(f"for the benches:  python -m bench.graphs FOLDER --full-clap {folder / 'clap'}")


def _make() -> None:
    from bench.references.towers import write_audio, write_text

    folder = reference_folder()
    (folder / "clap").mkdir(parents=True)
    print("making mel references")
    make(folder / "clap_mel_references.npz")
    print("making the audio tower, some 15 s")
    write_audio(folder / "clap")
    print("making the text tower, some 30 s")
    write_text(folder / "clap")
    build_tokenizer(folder / "clap" / "tokenizer.json")


if __name__ == "__main__":
    main()
