"""Opens a model in onnxruntime the one way that we use it: one thread, nothing reported, no memory hoarded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from models.child.selftest import PackUnfit

if TYPE_CHECKING:
    import onnxruntime as ort


def open_session(path: Path) -> ort.InferenceSession:
    """A warm-up is the caller's. The folder bears the name of the pack. Raises PackUnfit."""
    # Since 1.29 onnxruntime reports to its maker unless this is set before it is loaded: hashes of models, a device id,
    # a database in the home folder, threads. A listening child tells nobody anything.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort  # noqa: PLC0415  (only after the line above)

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # more would make results depend on the number of children
    options.inter_op_num_threads = 1
    # Without the arena a child is 50 MB smaller and no slower: a run needs few and equal buffers.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen types and no common one
        raise PackUnfit(path.parent.name, f"{path.name} cannot be opened ({error})") from error
