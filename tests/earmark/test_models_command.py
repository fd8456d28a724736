"""`earmark models` as people run it: pulling with and without consent, listing, verifying, removing."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.pack import pack_folder

EARMARK = [sys.executable, "-m", "earmark.cli"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(stand_in_home: tuple[Path, Path], tmp_path: Path) -> Path:
    """A home folder with the real musicnn."""
    shutil.copytree(pack_folder(stand_in_home[0], "musicnn"), pack_folder(tmp_path, "musicnn"))
    return tmp_path


@pytest.fixture
def clap(stand_in_home: tuple[Path, Path], home: Path) -> Path:
    """The folder of clap, installed in that home."""
    folder = pack_folder(home, "clap")
    shutil.copytree(pack_folder(stand_in_home[0], "clap"), folder)
    return folder


@pytest.fixture
def source(stand_in_home: tuple[Path, Path]) -> Path:
    """The folder of the stand-ins' files."""
    return stand_in_home[1].parent


@pytest.fixture
def environment(stand_in_home: tuple[Path, Path], home: Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
    return plain | {"EARMARK_HOME": str(home), "EARMARK_LISTENING__PACK_CATALOGUE": str(stand_in_home[1])}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """`run("pull", "effnet")` without a terminal."""

    def command(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*EARMARK, "models", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment | more,
        )

    return command


@pytest.fixture
def run_on_terminal(environment: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """`run_on_terminal("y", "pull", "effnet")` -> exit code and everything shown; "y" is typed."""

    def command(typed: str, *arguments: str | Path) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*EARMARK, "models", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm", "COLUMNS": "150"},
        )
        os.close(theirs)
        os.write(ours, f"{typed}\n".encode())
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            shown += chunk
        os.close(ours)
        return process.wait(), shown.decode()

    return command


def listed(run: Run, **environment: str) -> dict[str, dict[str, Any]]:
    done = run("list", "--json", **environment)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_effnet_needs_consent_which_is_recorded_and_shown(run: Run, home: Path, source: Path) -> None:
    refused = run("pull", "effnet", "--from", source)
    assert refused.returncode == 2
    assert "CC-BY-NC-SA-4.0" in refused.stderr
    assert "--accept-license" in refused.stderr
    assert not pack_folder(home, "effnet").exists()
    assert (listed(run)["effnet"]["consent"], listed(run)["effnet"]["consent_needed"]) == (None, True)

    done = run("pull", "effnet", "--from", source, "--accept-license")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["verifying"] * 9 + ["installing", "effnet"]
    row = listed(run)["effnet"]
    assert row["consent"]["licence"] == row["licence"] == "CC-BY-NC-SA-4.0 / CC-BY-NC-ND-4.0"
    assert row["consent"]["accepted"].endswith("Z")
    assert row["consent"]["earmark"]
    shown = run("list").stdout
    assert f"given {row['consent']['accepted'][:10]}" in shown
    assert "CC-BY-NC-ND-4.0: " in shown

    again = run("pull", "effnet")
    assert again.returncode == 0  # nothing is asked or fetched twice
    assert listed(run)["effnet"]["consent"] == row["consent"]


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 2)])
def test_on_a_terminal_it_asks(
    run_on_terminal: Callable[..., tuple[int, str]], home: Path, source: Path, typed: str, code: int
) -> None:
    answer, shown = run_on_terminal(typed, "pull", "effnet", "--from", source)
    assert answer == code, shown
    assert "https://creativecommons.org/licenses/by-nc-sa/4.0/" in shown
    assert "Do you accept the licence of effnet?" in shown
    assert pack_folder(home, "effnet").exists() == (typed == "y")


def test_clap_shows_both_licences_and_needs_no_consent(run: Run, source: Path) -> None:
    done = run("pull", "clap", "--from", source)
    assert done.returncode == 0, done.stderr
    assert "(Apache-2.0 / CC-BY-4.0)" in done.stderr
    assert {"id": "Apache-2.0"}.items() <= listed(run)["clap"]["licences"][0].items()


@pytest.fixture
def mirror(source: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(source))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_from_a_mirror_a_line_a_file(run: Run, mirror: str) -> None:
    done = run("pull", "clap", "--from", mirror)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stderr.splitlines()]
    assert steps[:4] == ["downloading"] * 3 + ["converting"]
    assert steps[-2:] == ["installing", "clap"]
    assert run("verify").stdout.count("intact") == 2


def test_on_a_terminal_bytes_are_counted(run_on_terminal: Callable[..., tuple[int, str]], mirror: str) -> None:
    code, shown = run_on_terminal("", "pull", "clap", "--from", mirror)
    assert code == 0, shown
    assert "audio_model_quantized.onnx" in shown
    assert "bytes" in shown or "kB" in shown or "MB" in shown


def test_a_mirror_that_is_gone(run: Run) -> None:
    done = run("pull", "clap", "--from", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "run it again" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_in_use_follows_the_rule(run: Run, home: Path, source: Path, stand_in_home: tuple[Path, Path]) -> None:
    def in_use(**environment: str) -> list[str]:
        return [name for name, row in listed(run, **environment).items() if row["in_use"]]

    assert in_use() == ["musicnn"]
    shutil.copytree(pack_folder(stand_in_home[0], "clap"), pack_folder(home, "clap"))
    assert in_use() == ["musicnn", "clap"]
    run("pull", "effnet", "--from", source, "--accept-license")
    assert in_use() == ["effnet", "clap"]
    assert in_use(EARMARK_LISTENING__PACKS='["effnet"]') == ["musicnn", "effnet"]
    done = run("pull", "musicnn")
    assert "musicnn is not in use: effnet and clap together replace it" in done.stderr


def test_damage_is_found_and_exit_code_1(run: Run, clap: Path, source: Path) -> None:
    graph = clap / "audio_model_quantized.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    done = run("verify")
    assert done.returncode == 1
    assert "musicnn: intact" in done.stdout
    assert "changed since it was pulled (audio_model_quantized.onnx)" in done.stdout
    assert run("verify", "musicnn").returncode == 0
    assert run("verify", "effnet").returncode == 1  # asked for, and not there
    assert run("verify", "efnet").returncode == 2
    assert run("pull", "clap", "--from", source).returncode == 0
    assert run("verify", "clap").returncode == 0


def test_a_pack_of_other_declarations_is_told(run: Run, clap: Path, source: Path) -> None:
    done = run("verify", "clap", EARMARK_LISTENING__PACK_CATALOGUE="")
    assert (done.returncode, "another version of Earmark" in done.stdout) == (1, True)
    done = run("verify", "clap", "--catalogue", source / "packs.json", EARMARK_LISTENING__PACK_CATALOGUE="")
    assert "clap: intact" in done.stdout


def test_remove(run: Run, home: Path, clap: Path) -> None:
    asked = run("remove", "clap")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert clap.exists()
    done = run("remove", "clap", "--yes", EARMARK_LISTENING__PACKS='["clap"]')
    assert done.returncode == 0
    assert "clap is in use: listening.packs names it" in done.stderr
    assert sorted(path.name for path in (home / "models").iterdir()) == ["musicnn"]
    assert run("remove", "clap", "--yes").returncode == 1
    assert "clap: is not installed" in run("remove", "clap", "--yes").stderr


def test_remove_asks_on_a_terminal(run_on_terminal: Callable[..., tuple[int, str]], home: Path) -> None:
    assert run_on_terminal("n", "remove", "musicnn")[0] == 2
    assert pack_folder(home, "musicnn").exists()
    code, shown = run_on_terminal("y", "remove", "musicnn")
    assert (code, "Remove musicnn (" in shown) == (0, True)
    assert not pack_folder(home, "musicnn").exists()


def test_remove_takes_what_a_cut_download_left(run: Run, home: Path) -> None:
    part = home / "models" / ".clap.pulling" / "text_model_quantized.onnx.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    assert run("remove", "clap", "--yes").returncode == 0
    assert not part.parent.exists()


def test_without_any_pack_the_remedy_is_named(run: Run, home: Path) -> None:
    shutil.rmtree(pack_folder(home, "musicnn"))
    done = run("verify")
    assert (done.returncode, "earmark models pull musicnn" in done.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["", "list", "pull", "verify", "remove"])
def test_help_teaches(run: Run, verb: str) -> None:
    done = run(*([verb] if verb else []), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 8


def test_output_that_cannot_be_written_is_one_line(home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "earmark.cli", "models", "list", "--json"]
        environment = os.environ | {"EARMARK_HOME": str(home)}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (3, "earmark: the output cannot be written (No space left on device)\n")
