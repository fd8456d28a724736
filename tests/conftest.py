"""Fixtures that several rooms need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest

# The tests hold in one process what Earmark never does: onnxruntime imported after usearch crashes the interpreter, so
# it comes first; and it reports home unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# One thread of linear algebra, as a listening child has: a pool of them fights over a busy machine's cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import onnxruntime

from core.home import default_home
from models.catalogue import get_pack
from models.pack import Consent, pack_folder
from models.pull import pull

assert onnxruntime

# A busy machine may take its time for one example.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def pack_home() -> Path:
    """A home folder with the musicnn pack: $EARMARK_HOME or the default one, pulled when it is missing."""
    home = default_home()
    pull("musicnn", home)
    return home


@pytest.fixture(scope="session")
def stand_in_home(pack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home folder with the real musicnn and with stand-ins for effnet and clap, and the catalogue that declares them.

    They got there by the very pull that brings the real ones, from a folder. Change nothing in it: copy what you break.
    """
    from bench.graphs.catalogue import write_stand_ins

    source, home = tmp_path_factory.mktemp("stand-ins"), tmp_path_factory.mktemp("stand-in-home")
    catalogue = write_stand_ins(source)
    shutil.copytree(pack_folder(pack_home, "musicnn"), pack_folder(home, "musicnn"))
    for name in ("effnet", "clap"):
        consent = Consent(get_pack(name, catalogue).licence, "2026-11-21T00:00:00.000Z", "tests")
        pull(name, home, source=source, catalogue=catalogue, consent=consent)
    return home, catalogue
