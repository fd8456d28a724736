"""Listening: from a local audio file to an Analysis.

Owns the model packs (what they are, pulling and verifying them), the supervised child processes that listen, and the
tag-space vectors. Defends two invariants: bytes from strangers are decoded only in a disposable child process that
holds no secret, and an analysis names the hash of the pack that made it, so that equal hashes mean equal results.

The parent side (everything but `models.child`) is light; onnx is imported only where packs are converted
(`models.convert`, `models.quantise`), in processes of their own.
"""

__all__ = [
    "bundle",
    "catalogue",
    "child",
    "convert",
    "crew",
    "describe",
    "download",
    "moods",
    "pack",
    "partial",
    "process",
    "prompt_book",
    "prompts",
    "pull",
    "shelf",
    "sources",
    "texts",
    "wheel",
    "wire",
    "words",
]
