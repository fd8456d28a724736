"""Pulling files over HTTP from servers that misbehave: what is resumed, what is refused, what is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import Corrupt, DiskFull, Misconfigured, RateLimited, Unreachable
from models.catalogue import Download
from models.download import Fetcher, NotThere, Patience
from models.pack import is_installed, pack_folder, verify
from models.pull import pull
from models.shelf import workshop_folder

CONTENT = bytes(range(256)) * 2048  # half a megabyte
HURRY = Patience(connect_seconds=5.0, silence_seconds=0.4, crawl_seconds=0.5, crawl_bytes=1000)


@dataclass
class Server:
    """Serves `files`; every other field is a way to misbehave."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"one"'
    ranges: bool = True  # whether Range is heeded
    length: bool = True  # whether Content-Length is told
    cut_after: int | None = None  # bytes of the body, then the connection is closed
    hang_after: int | None = None  # bytes of the body, then nothing until `gate` opens
    drip: float = 0.0  # seconds between single bytes
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)  # path -> status, location
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    gate: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers as the `Server` that it is for says."""

    def __init__(self, told: Server, *arguments: Any) -> None:
        self.told = told
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        told, wanted = self.told, self.headers["Range"]
        told.asked.append((self.path, wanted))
        status, location = told.answers.get(self.path, (200 if self.path in told.files else 404, ""))
        content, begin = told.files.get(self.path, b""), 0
        headers = told.headers | ({"Location": location} if location else {})
        if status == 200 and wanted and told.ranges and self.headers["If-Range"] in (None, told.etag):
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if begin < len(content) else 416
            headers = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} | headers
        body = content[begin:] if status in (200, 206) else b""
        if told.length:
            headers["Content-Length"] = str(len(body))
        self.send_response(status)
        for name, value in ({"ETag": told.etag} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client had enough
            self.send_body(body)

    def send_body(self, body: bytes) -> None:
        told = self.told
        if told.drip:
            while not told.gate.wait(told.drip):
                self.wfile.write(b"x")
        if told.hang_after is not None and len(body) > told.hang_after:
            self.wfile.write(body[: told.hang_after])
            told.gate.wait(60)
            body = body[told.hang_after :]
        self.wfile.write(body[: told.cut_after])
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, told)) as http:
        told.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield told
        told.gate.set()
        http.shutdown()
        thread.join()


def declared(content: bytes = CONTENT, **fields: Any) -> Download:
    return Download(
        **{"path": "model.onnx", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | fields
    )


def fetch(server: Server, folder: Path, download: Download | None = None, path: str = "/model.onnx") -> Path:
    with Fetcher(patience=HURRY) as fetcher:
        return fetcher.fetch(download or declared(), server.url + path, folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_its_bytes_are_counted(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    seen: list[tuple[str, int, int | None]] = []
    with Fetcher(advance=lambda *step: seen.append(step)) as fetcher:
        path = fetcher.fetch(declared(), f"{server.url}/model.onnx", tmp_path)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["model.onnx"]
    assert seen[0] == ("model.onnx", 0, len(CONTENT))
    assert seen[-1] == ("model.onnx", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def cut(server: Server, folder: Path, after: int = 100_000) -> int:
    """Fetch from a server that closes the connection; how many bytes are kept."""
    server.files.setdefault("/model.onnx", CONTENT)
    server.cut_after = after
    with pytest.raises(Unreachable, match=rf"{after} bytes are kept: run it again to go on"):
        fetch(server, folder)
    server.cut_after = None
    return after


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    kept = cut(server, tmp_path)
    assert not (tmp_path / "model.onnx").exists()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/model.onnx", None), ("/model.onnx", f"bytes={kept}-")]
    assert names(tmp_path) == ["model.onnx"]


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    cut(server, tmp_path)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_patched_together(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = bytes(len(CONTENT))
    cut(server, tmp_path)
    server.files["/model.onnx"], server.etag = CONTENT, '"two"'
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2  # If-Range told at once


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_where_nothing_tells_versions_apart_the_hash_does(server: Server, tmp_path: Path, etag: str) -> None:
    server.etag = etag
    server.files["/model.onnx"] = bytes(len(CONTENT))
    kept = cut(server, tmp_path)
    server.files["/model.onnx"] = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[1:] == [("/model.onnx", f"bytes={kept}-"), ("/model.onnx", None)]


@pytest.mark.parametrize("left", [b"rubbish", CONTENT + b"more", CONTENT, bytes(len(CONTENT))])
def test_whatever_an_earlier_run_left_the_file_comes_out_right(server: Server, tmp_path: Path, left: bytes) -> None:
    server.files["/model.onnx"] = CONTENT
    (tmp_path / "model.onnx.part").write_bytes(left)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["model.onnx"]
    assert (server.asked == []) == (left == CONTENT)  # complete but for its name: nobody is asked


def test_a_part_as_long_as_a_file_of_unknown_size(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    (tmp_path / "model.onnx.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path, declared(size=None)).read_bytes() == CONTENT
    assert len(server.asked) == 2  # the first was answered with 416


@pytest.mark.parametrize("resumed", [False, True])
def test_other_bytes_than_declared_are_deleted_and_both_hashes_told(
    server: Server, tmp_path: Path, resumed: bool
) -> None:
    server.files["/model.onnx"] = wrong = CONTENT[:-1] + b"!"
    if resumed:
        cut(server, tmp_path)
    with pytest.raises(Corrupt) as refusal:
        fetch(server, tmp_path)
    assert hashlib.sha256(wrong).hexdigest() in str(refusal.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(refusal.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_longer_file_is_refused_before_it_fills_the_disk(server: Server, tmp_path: Path, length: bool) -> None:
    server.length = length
    server.files["/model.onnx"] = CONTENT * 20
    with pytest.raises(Corrupt, match="expected"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_a_file_of_unknown_size_has_a_limit_too(server: Server, tmp_path: Path) -> None:
    server.length = False
    server.files["/model.onnx"] = bytes(9 << 20)
    with pytest.raises(Corrupt, match="longer than the 8388608 bytes"):
        fetch(server, tmp_path, declared(size=None))
    assert names(tmp_path) == []


def test_a_shorter_file_is_another_file(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = b"<html>Please log in to this network</html>"
    with pytest.raises(Corrupt, match="has 42 bytes, expected 524288"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_an_end_that_may_be_a_cut_is_taken_for_one(server: Server, tmp_path: Path) -> None:
    server.length = False
    server.files["/model.onnx"] = CONTENT
    server.cut_after = 70_000
    with pytest.raises(Unreachable, match="ended after 70000 of 524288 bytes; 70000 bytes are kept"):
        fetch(server, tmp_path)


def test_redirects_are_followed_and_the_range_goes_with_them(server: Server, tmp_path: Path) -> None:
    server.answers = {"/old": (302, "/older"), "/older": (307, f"{server.url}/model.onnx")}
    server.files["/model.onnx"] = CONTENT
    (tmp_path / "model.onnx.part").write_bytes(CONTENT[:5])
    assert fetch(server, tmp_path, path="/old").read_bytes() == CONTENT
    assert server.asked[-1] == ("/model.onnx", "bytes=5-")


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/model.onnx", "more than 5 redirects"),
        ("http://example.org/model.onnx", "only https"),
        ("file:///etc/passwd", "only https"),
        ("http://[", "redirects to nonsense"),
        ("", "answered 302"),
    ],
)
def test_redirects_to_nowhere(server: Server, tmp_path: Path, location: str, says: str) -> None:
    server.answers = {"/model.onnx": (302, location)}
    with pytest.raises(Unreachable, match=says):
        fetch(server, tmp_path)
    assert len(server.asked) <= 6


def test_http_is_for_this_machine_only(tmp_path: Path) -> None:
    with Fetcher() as fetcher, pytest.raises(Unreachable, match="only https"):
        fetcher.fetch(declared(), "http://user:secret@example.org/x", tmp_path)


def test_messages_keep_credentials_to_themselves(server: Server, tmp_path: Path) -> None:
    address = server.url.replace("//", "//user:hush@") + "/gone?signature=hush"
    with Fetcher() as fetcher, pytest.raises(NotThere) as absence:
        fetcher.fetch(declared(), address, tmp_path)
    assert "hush" not in str(absence.value)


def test_a_server_that_falls_silent(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    server.hang_after = 1000
    with pytest.raises(Unreachable, match="fell silent; 1000 bytes are kept"):
        fetch(server, tmp_path)


def test_a_server_that_crawls(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    server.drip = 0.05
    with pytest.raises(Unreachable, match=r"stalled, \d+ bytes in \d s"):
        fetch(server, tmp_path)


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotThere), (403, NotThere), (500, Unreachable), (429, RateLimited)]
)
def test_refusals(server: Server, tmp_path: Path, status: int, error: type[Exception]) -> None:
    server.answers = {"/model.onnx": (status, "")}
    with pytest.raises(error, match=str(status)):
        fetch(server, tmp_path)


def test_a_compressed_body_is_not_the_file(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(Unreachable, match="compressed"):
        fetch(server, tmp_path)


def test_another_part_than_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.files["/model.onnx"] = CONTENT
    (tmp_path / "model.onnx.part").write_bytes(CONTENT[:10])
    server.headers = {"Content-Range": "bytes 7-9/10"}
    with pytest.raises(Unreachable, match="another part"):
        fetch(server, tmp_path)
    server.headers = {}
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_nobody_answers(tmp_path: Path) -> None:
    with Fetcher() as fetcher, pytest.raises(Unreachable, match=r"ConnectError.*run it again"):
        fetcher.fetch(declared(), "http://127.0.0.1:9/model.onnx", tmp_path)
    assert names(tmp_path) == []


def test_proxy_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://x")
    with pytest.raises(Misconfigured, match="HTTPS_PROXY"):
        Fetcher()


# --- whole packs -------------------------------------------------------------------------------------------

Declare = Callable[..., Path]
OTHER = b"the words" * 1000


@pytest.fixture
def declare(tmp_path: Path, server: Server) -> Declare:
    """`declare(model={...}, words={...}, **fields)` -> a catalogue whose pack clap has two files from the server."""

    def write(model: dict[str, Any] | None = None, words: dict[str, Any] | None = None, **fields: Any) -> Path:
        files = []
        for name, content, changes in (("model.onnx", CONTENT, model), ("words.json", OTHER, words)):
            server.files[f"/{name}"] = content
            digest = hashlib.sha256(content).hexdigest()
            plain = {"path": name, "url": f"{server.url}/{name}", "size": len(content), "sha256": digest}
            files.append(plain | (changes or {}))
        pack = {
            "name": "clap",
            "role": "test",
            "gives": "nothing",
            "licences": [{"id": "CC0-1.0", "url": "https://example.org", "about": "test"}],
            "consent": False,
            "taggers": {},
            "spaces": ["clap"],
            "front_end": {"rate_hz": 48000, "mel_bands": 64, "patch_frames": 1001},
            "files": files,
        }
        path = tmp_path / "packs.json"
        path.write_text(json.dumps([pack | fields]))
        return path

    return write


def left(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home / "models")) for path in (home / "models").rglob("*") if path.is_file())


def test_a_pack_from_its_publisher(server: Server, declare: Declare, tmp_path: Path) -> None:
    steps: list[str] = []
    installed = pull("clap", tmp_path, catalogue=declare(), progress=steps.append)
    assert left(tmp_path) == ["clap/manifest.json", "clap/model.onnx", "clap/words.json"]
    assert installed.size_bytes == len(CONTENT) + len(OTHER)
    assert steps[:2] == ["downloading model.onnx (0.5 MB)", "downloading words.json (0.0 MB)"]


@pytest.mark.parametrize("place", ["/clap", ""])
def test_a_pack_from_a_mirror(server: Server, declare: Declare, tmp_path: Path, place: str) -> None:
    catalogue = declare(model={"url": None}, words={"url": "https://example.org/never-asked"})
    server.files = {f"/some/where{place}{path}": content for path, content in server.files.items()}
    pull("clap", tmp_path, catalogue=catalogue, source=f"{server.url}/some/where/")
    assert is_installed(tmp_path, "clap")


def test_the_wheel_from_a_mirror(server: Server, tmp_path: Path, wheel_folder: Path) -> None:
    wheel = next(wheel_folder.glob("*.whl"))
    server.files[f"/musicnn/{wheel.name}"] = wheel.read_bytes()
    pull("musicnn", tmp_path, source=server.url)
    assert is_installed(tmp_path, "musicnn")
    assert left(tmp_path) == [f"musicnn/{name}" for name in names(pack_folder(tmp_path, "musicnn"))]


@pytest.mark.parametrize("mirror", ["http://example.org", "ftp://example.org/x", "https//x://"])
def test_an_address_that_is_no_mirror(declare: Declare, tmp_path: Path, mirror: str) -> None:
    with pytest.raises(Misconfigured, match="--from"):
        pull("clap", tmp_path, catalogue=declare(), source=mirror)
    assert left(tmp_path) == []


def test_an_optional_file_that_is_not_there_is_left_out_and_fetched_when_it_is(
    server: Server, declare: Declare, tmp_path: Path
) -> None:
    catalogue = declare(words={"optional": True})
    words = server.files.pop("/words.json")
    steps: list[str] = []
    without = pull("clap", tmp_path, catalogue=catalogue, progress=steps.append)
    assert without.left_out == ("words.json",)
    assert any("left out" in step and "words.json" in step for step in steps)
    assert pull("clap", tmp_path, catalogue=catalogue) == without  # still not there
    server.files["/words.json"] = words
    server.asked.clear()
    assert pull("clap", tmp_path, catalogue=catalogue).left_out == ()
    assert [path for path, _ in server.asked] == ["/words.json"]
    assert verify(tmp_path, "clap", catalogue=catalogue).pack_hash != without.pack_hash


def test_a_required_file_that_is_not_there(server: Server, declare: Declare, tmp_path: Path) -> None:
    catalogue = declare()
    del server.files["/words.json"]
    with pytest.raises(NotThere, match=r"words\.json: not there \(404\)"):
        pull("clap", tmp_path, catalogue=catalogue)
    assert not is_installed(tmp_path, "clap")
    server.files["/words.json"] = OTHER
    server.asked.clear()
    pull("clap", tmp_path, catalogue=catalogue)
    assert [path for path, _ in server.asked] == ["/words.json"]  # the other one was kept, verified


def test_only_a_doubtful_hash_of_an_optional_file_is_forgiven(server: Server, declare: Declare, tmp_path: Path) -> None:
    wrong = {"sha256": "0" * 64, "optional": True}
    with pytest.raises(Corrupt, match="0000"):
        pull("clap", tmp_path, catalogue=declare(words=wrong))
    assert not is_installed(tmp_path, "clap")
    steps: list[str] = []
    catalogue = declare(words=wrong | {"unconfirmed": True, "size": None})
    assert pull("clap", tmp_path, catalogue=catalogue, progress=steps.append).left_out == ("words.json",)
    assert any("only one source" in step and "0000" in step for step in steps)


def test_a_wrong_hash_installs_nothing_and_deletes_the_bytes(server: Server, declare: Declare, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="SHA-256"):
        pull("clap", tmp_path, catalogue=declare(model={"sha256": "0" * 64}))
    assert left(tmp_path) == []


def test_no_room_is_told_before_anything_is_fetched(server: Server, declare: Declare, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"MB left and clap takes 1000000\d+ MB more: free some space"):
        pull("clap", tmp_path, catalogue=declare(model={"size": 10**15}))
    assert server.asked == []
    assert left(tmp_path) == []


PULL = """
import sys
from pathlib import Path
from models.pull import pull
pull("clap", Path(sys.argv[1]), catalogue=Path(sys.argv[2]))
"""


def test_a_disk_that_fills_up_meanwhile(server: Server, declare: Declare, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    told = "from core.errors import DiskFull\ntry:\n    exec(pull)\nexcept DiskFull as error:\n    print(error)"
    command = [sys.executable, "-B", "-c", f"pull = {PULL!r}\n{limit}{told}", str(tmp_path), str(declare())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "has no room left: free some space" in done.stdout
    assert left(tmp_path) == []


def test_a_pull_that_is_killed_leaves_nothing_usable_and_the_next_goes_on(
    server: Server, declare: Declare, tmp_path: Path
) -> None:
    catalogue = declare()
    server.hang_after = 123_456
    process = subprocess.Popen([sys.executable, "-c", PULL, str(tmp_path), str(catalogue)])
    part = workshop_folder(tmp_path, "clap") / "model.onnx.part"
    while process.poll() is None and (not part.exists() or part.stat().st_size < 123_456):
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not is_installed(tmp_path, "clap")
    with pytest.raises(Misconfigured, match="not installed"):
        verify(tmp_path, "clap", catalogue=catalogue)
    server.hang_after = None
    server.gate.set()
    pull("clap", tmp_path, catalogue=catalogue)
    assert ("/model.onnx", "bytes=123456-") in server.asked
    assert left(tmp_path) == ["clap/manifest.json", "clap/model.onnx", "clap/words.json"]


def test_two_pulls_at_once_fetch_once(server: Server, declare: Declare, tmp_path: Path) -> None:
    catalogue = declare()
    server.hang_after = 1000
    waits = threading.Event()

    def notice(step: str) -> None:
        if "waiting for it" in step:
            waits.set()

    with ThreadPoolExecutor(2) as threads:
        pulls = [threads.submit(pull, "clap", tmp_path, catalogue=catalogue, progress=notice) for _ in range(2)]
        assert waits.wait(30)
        server.gate.set()
        first, second = (one.result() for one in pulls)
    assert first == second
    assert len(server.asked) == 2  # one request a file
    assert left(tmp_path) == ["clap/manifest.json", "clap/model.onnx", "clap/words.json"]


def test_a_damaged_pack_keeps_what_is_right(server: Server, declare: Declare, tmp_path: Path) -> None:
    catalogue = declare()
    first = pull("clap", tmp_path, catalogue=catalogue)
    (first.folder / "words.json").write_bytes(b"scribble")
    (first.folder / "stranger.onnx").write_bytes(b"no part of the pack")
    with pytest.raises(Corrupt, match=r"changed since it was pulled \(stranger\.onnx, words\.json\)"):
        verify(tmp_path, "clap", catalogue=catalogue)
    server.asked.clear()
    assert pull("clap", tmp_path, catalogue=catalogue) == first
    assert [path for path, _ in server.asked] == ["/words.json"]


def test_a_pack_of_another_declaration_is_told_and_replaced(server: Server, declare: Declare, tmp_path: Path) -> None:
    pull("clap", tmp_path, catalogue=declare())
    newer = b"newer words"
    catalogue = declare(words={"size": len(newer), "sha256": hashlib.sha256(newer).hexdigest()})
    server.files["/words.json"] = newer
    with pytest.raises(Corrupt, match="another version of Earmark"):
        verify(tmp_path, "clap", catalogue=catalogue)
    pull("clap", tmp_path, catalogue=catalogue)
    assert (pack_folder(tmp_path, "clap") / "words.json").read_bytes() == newer


def test_another_recipe_makes_the_pack_anew_of_the_same_files(server: Server, declare: Declare, tmp_path: Path) -> None:
    first = pull("clap", tmp_path, catalogue=declare())
    catalogue = declare(recipe=2)
    with pytest.raises(Corrupt, match="another version of Earmark"):
        verify(tmp_path, "clap", catalogue=catalogue)
    server.asked.clear()
    assert pull("clap", tmp_path, catalogue=catalogue).pack_hash == first.pack_hash
    assert server.asked == []


def test_a_failed_conversion_of_whole_files_is_told(declare: Declare, tmp_path: Path) -> None:
    steps: list[str] = []
    pull("clap", tmp_path, catalogue=declare(convert="models.nothing"), progress=steps.append)
    assert left(tmp_path) == ["clap/manifest.json", "clap/model.onnx", "clap/words.json"]
    assert [step for step in steps if "(models.nothing) failed: " in step and "No module named" in step], steps
