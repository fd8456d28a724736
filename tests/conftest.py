"""Fixtures that several rooms need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The tests hold in one process what Earmark never does: onnxruntime imported after usearch crashes the interpreter, so
# it comes first; and it reports home unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

from core.home import default_home
from models.pull import pull

assert onnxruntime


@pytest.fixture(scope="session")
def pack_home() -> Path:
    """A home folder with the musicnn pack: $EARMARK_HOME or the default one, pulled when it is missing."""
    home = default_home()
    pull("musicnn", home)
    return home
