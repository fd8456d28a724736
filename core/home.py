"""Where Earmark's files live unless told otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def default_home() -> Path:
    """$EARMARK_HOME, else the platform's user data folder."""
    if home := os.environ.get("EARMARK_HOME"):
        return Path(home).expanduser().absolute()
    return Path(platformdirs.user_data_dir("earmark", appauthor=False))
