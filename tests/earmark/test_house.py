"""The house itself: documents say what the code does, the web process stays light, the wheel holds every file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from earmark.cli import _Verbs

ROOT = Path(__file__).parents[2]
HEAVY = {
    "onnxruntime",
    "onnx",
    "librosa",
    "av",
    "numba",
    "scipy",
    "soundfile",
    "soxr",
    "sklearn",
    "atproto",
    "atproto_client",
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment
    )


def test_the_service_imports_nothing_heavy() -> None:
    code = "import sys, json, earmark.compose, earmark.commands.serve; print(json.dumps(sorted(sys.modules)))"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_help_needs_no_room() -> None:
    code = (
        "import sys; sys.argv = ['earmark', '--help']\n"
        "from earmark.cli import cli\n"
        "cli(standalone_mode=False)\n"
        "print(sorted(name for name in ('numpy', 'aiohttp', 'store', 'firehose', 'models') if name in sys.modules))"
    )
    assert run("-c", code).stdout.rstrip().endswith("[]")


def test_every_verb_is_documented_and_helps() -> None:
    documents = (ROOT / "README.md").read_text() + (ROOT / "docs" / "operating.md").read_text()
    for verb in _Verbs.modules:
        assert f"`{verb}" in documents or f"earmark {verb}" in documents, (
            f"{verb} is not in README or docs/operating.md"
        )
        done = run("-m", "earmark.cli", verb, "--help")
        assert done.returncode == 0
        assert "Usage:" in done.stdout


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links {target}"


def test_every_data_file_is_packaged() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for room in ("core", "firehose", "labeler", "feedgen", "models", "store", "earmark"):
        packaged = {path for pattern in patterns.get(room, []) for path in (ROOT / room).glob(pattern)}
        data = {
            path
            for path in (ROOT / room).rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
        }
        assert data == packaged, room


def test_constraints_carry_no_addresses_and_cover_what_is_required() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=\[;]", one)[0].lower().replace("_", "-") for one in wanted} <= pinned


def test_a_secret_in_the_environment_is_masked_by_config_show() -> None:
    done = run("-m", "earmark.cli", "config", "show", EARMARK_LABELER__KEY="ab" * 32)
    assert done.returncode == 0
    assert "abab" not in done.stdout + done.stderr
    assert "key = " in done.stdout
