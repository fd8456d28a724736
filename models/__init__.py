"""Listening: from a local audio file to an Analysis.

Owns the model packs (what they are, pulling and verifying them), the supervised child processes that listen, and the
tag-space vectors. Defends two invariants: bytes from strangers are decoded only in a disposable child process that
holds no secret, and an analysis names the hash of the pack that made it, so that equal hashes mean equal results.

The parent side (everything but `models.child`) is light; `models.convert` alone imports onnx, in its own process.
"""

__all__ = ["bundle", "child", "convert", "crew", "moods", "pack", "pull", "wire"]
