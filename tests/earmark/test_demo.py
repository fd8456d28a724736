"""`earmark demo` as a person runs it: a real process, real sockets, real listening."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import httpx
import pytest
from atproto_crypto.verify import verify_signature

from core.dagcbor import decode_multi, encode

EARMARK = [sys.executable, "-m", "earmark.cli"]
OPEN = "{'calm', 'dance-floor', 'heavy'} <= {feed['feed'] for feed in status['feeds'] if feed['open']}"


def run(*arguments: str, timeout: float = 240.0, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EARMARK, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | environment,
    )


def test_demo_once_does_the_whole_job(tmp_path: Path) -> None:
    done = run("demo", "--once", "--json", "--port", "0", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    tracks = {track["title"]: track for track in shown["tracks"]}
    assert len(tracks) >= 5
    assert sum(bool(track["labels"]) for track in tracks.values()) >= 3
    assert all(feed["items"] for feed in shown["feeds"])
    feeds = {feed["uri"].rpartition("/")[2] for feed in shown["feeds"]}
    assert {"calm", "dance-floor", "heavy", "fresh", "voices"} <= feeds
    assert "deep-cuts" not in feeds, "nothing is a month old"
    assert shown["verified"] == {
        "labels": sum(len(track["labels"]) for track in tracks.values()),
        "signatures_ok": True,
        "feeds_ok": True,
        "hidden_ok": True,
    }
    for track in tracks.values():
        assert track["uri"].startswith("at://did:plc:")
        assert (track["seconds"] is not None) == bool(track["labels"])
        assert bool(track["labels"]) == (track["status"] == "ok")
    # Noise is not music: no label, no feed but that of what is none, and a reason that says why.
    noise = tracks["Weather"]
    assert (noise["labels"], noise["feeds"]) == ([], ["voices"])
    assert noise["reason"]
    assert "Not Listed" not in tracks
    assert "Supporters Only" not in tracks
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing on disk"


def test_demo_on_a_folder_of_ones_own_audio(tmp_path: Path) -> None:
    from earmark.demo import music

    folder = tmp_path / "music" / "deeper"
    folder.mkdir(parents=True)
    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    music.encode(music.compose(piece), folder / "mine [live].wav")
    (folder / "broken.mp3").write_bytes(b"this is not audio at all " * 400)
    (folder / "notes.txt").write_text("not published")
    done = run("demo", "--once", "--json", "--port", "0", str(tmp_path / "music"))
    assert done.returncode == 0, done.stderr
    tracks = {track["title"]: track for track in json.loads(done.stdout)["tracks"]}
    assert set(tracks) == {"mine [live]", "broken"}
    assert tracks["mine [live]"]["labels"] == ["electronic"]
    assert (tracks["broken"]["status"], tracks["broken"]["reason"]) == ("refused", "not_audio")


def test_demo_of_an_empty_folder_says_so(tmp_path: Path) -> None:
    done = run("demo", "--once", "--json", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no audio files" in done.stderr


@contextmanager
def network_only(out: Path, **environment: str) -> Iterator[dict[str, str]]:
    """The test network in its own process; yields what it published: title -> uri."""
    process = subprocess.Popen(
        [*EARMARK, "demo", "--network-only", "--port", "0", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        published: dict[str, str] = {}
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("published "):
                _, uri, title = line.rstrip("\n").split(" ", 2)
                published[title] = uri
            if line.startswith("serving until"):
                break
        yield published
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        process.stderr.close()


class Serve:
    """`earmark serve` as a process of its own."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.log = config.parent / "serve.log"
        self._sink = self.log.open("a")
        self._process = subprocess.Popen(
            [*EARMARK, "--config", str(config), "serve"], stderr=self._sink, env=os.environ | environment
        )
        port = next(line.split("=")[1] for line in config.read_text().splitlines() if line.startswith("port"))
        self.url = f"http://127.0.0.1:{int(port)}"

    def get(self, path: str, **params: str) -> Any:
        return httpx.get(self.url + path, params=params, timeout=10.0).raise_for_status().json()

    def wait(self, check: str, seconds: float = 120.0) -> Any:
        """Polls `/api/status` until the expression over `status` holds."""
        deadline = time.monotonic() + seconds
        status: Any = None
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                status = self.get("/api/status")
                if eval(check, {"status": status}):
                    return status
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"{check} never held: {status}\n{self.log.read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing of a failed test keeps running."""
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._sink.close()

    def stop(self) -> float:
        """SIGTERM; seconds until it was gone."""
        began = time.monotonic()
        self._process.terminate()
        assert self._process.wait(15) == 0, self.log.read_text()
        self._sink.close()
        return time.monotonic() - began


async def read_stream(url: str, count: int) -> list[tuple[int, dict[str, Any]]]:
    """The first `count` labels of the stream, by number."""
    found: list[tuple[int, dict[str, Any]]] = []
    address = f"{url}/xrpc/com.atproto.label.subscribeLabels?cursor=0"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        while len(found) < count:
            message = await socket.receive(10)
            header, body = decode_multi(message.data)
            assert header == {"op": 1, "t": "#labels"}
            found += [(body["seq"], label) for label in body["labels"]]
    return found


def test_p157_killed_in_the_middle_every_track_ends_with_its_labels_once(tmp_path: Path) -> None:
    environment = {"EARMARK_LISTENING__CHILDREN": "1"}
    with network_only(tmp_path) as published:
        config = tmp_path / "earmark.toml"
        public = {title: uri for title, uri in published.items() if "(hidden)" not in title}
        for done in (1, 3):  # killed twice, each time between the first and the last track
            with Serve(config, **environment) as serve:
                serve.wait(
                    f"status['jobs']['done'] >= {done} and status['jobs']['ready'] + status['jobs']['leased'] > 0"
                )
        with Serve(config, **environment) as serve:
            check_the_end(serve, config, public)
        assert not list((tmp_path / "data" / "listening").iterdir()), "audio stays on disk"


def check_the_end(serve: Serve, config: Path, public: dict[str, str]) -> None:
    """Everything decided is published, gapless, once; and the service stops in time."""
    status = serve.wait("status['jobs']['done'] >= 8 and not status['jobs']['ready'] + status['jobs']['leased']")
    assert status["jobs"]["dead"] == 0
    serve.wait(OPEN)
    reports = {title: serve.get("/api/track", uri=uri) for title, uri in public.items()}
    assert all(report["verdict"]["published"] for report in reports.values())
    rows = serve.get("/xrpc/com.atproto.label.queryLabels", uriPatterns="*", limit="250")["labels"]
    stream = asyncio.run(read_stream(serve.url, len(rows)))
    # Gapless, none twice, and exactly what was decided.
    assert [seq for seq, _ in stream] == list(range(1, len(rows) + 1))
    assert len({(label["uri"], label["val"]) for _, label in stream}) == len(stream)
    for report in reports.values():
        assert {row["val"] for row in rows if row["uri"] == report["uri"]} == set(report["verdict"]["labels"])
    assert sum(bool(report["verdict"]["labels"]) for report in reports.values()) >= 3
    assert {row["uri"] for row in rows} <= set(public.values())
    verify_with_the_sdk(config, [label for _, label in stream])
    assert serve.stop() < 10


def verify_with_the_sdk(config: Path, labels: list[dict[str, Any]]) -> None:
    """Signatures hold for code that is not ours, with the key that the directory serves (P40)."""
    text = dict(line.split(" = ") for line in config.read_text().splitlines() if " = " in line)
    directory, did = json.loads(text["plc_url"]), json.loads(text["did"])
    document = httpx.get(f"{directory}/{did}").json()
    [multikey] = [
        method["publicKeyMultibase"]
        for method in document["verificationMethod"]
        if method["id"].endswith("#atproto_label")
    ]
    for label in labels:
        unsigned = {name: value for name, value in label.items() if name != "sig"}
        assert verify_signature(f"did:key:{multikey}", encode(unsigned), label["sig"])


@pytest.mark.parametrize("kind", ["jetstream"])
def test_serve_over_jetstream_and_read_only(tmp_path: Path, kind: str) -> None:
    """The Jetstream wire end to end; without an identity nothing is published and the service says how to enrol."""
    with network_only(tmp_path) as published:
        config = tmp_path / "earmark.toml"
        text = config.read_text().replace('kind = "relay"', f'kind = "{kind}"')
        config.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("did =", "key_file ="))))
        with Serve(config) as serve:
            status = serve.wait("status['jobs']['done'] >= 8")
            assert status["sources"][0]["name"].startswith("jetstream:")
            assert "read-only" in status["mode"]
            assert "enrol" in status["mode"]
            report = serve.get("/api/track", uri=published["Night Shift"])
            assert report["verdict"]["labels"] == ["electronic"]
            assert not report["verdict"]["published"]
            assert serve.get("/xrpc/com.atproto.label.queryLabels", uriPatterns="*")["labels"] == []
            serve.wait(OPEN)
            assert serve.get("/api/feeds/dance-floor")["tracks"]
            page = httpx.get(serve.url + "/").text
            assert "Dance Floor" in page
            assert 'href="/changes"' in page, "what people changed is public, so it can be found"
            assert "read-only" in page
            assert serve.stop() < 10
