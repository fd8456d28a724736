"""`earmark demo --network-only`: the test network alone, and the configuration with which `earmark serve` joins it."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson

from earmark.demo.network import Network
from earmark.demo.publish import create_labeler, find_recordings, publish, record_pieces
from earmark.demo.show import DemoFailed, free_port, unless_stopped

CONFIG = """\
# Written by `earmark demo --network-only`: joins the test network on this machine. Not for anything else.
[storage]
folder = {folder}

[service]
port = {port}

[source]
kind = "relay"               # or "jetstream": the test network speaks both
urls = [{stream}]
begin = "oldest"             # the music was published before you came

[network]
relay_url = {network}
plc_url = {network}
plyr_url = {visibility}

[labeler]
did = {did}
key_file = {key_file}
labels_per_second = 0

[feeds]
min_posts = 1
min_tracks = 1
min_seconds = 10
settle_seconds = 1

[development]
allow_loopback = true
"""


async def run_network_only(folder: Path | None, out: Path | None, *, port: int, say: Callable[[str], None]) -> None:
    """Starts the network, writes `earmark.toml` and `label.key` into `out` (default: a new temporary folder), publishes
    the music of `folder` (default: our own pieces), and serves until SIGTERM or Ctrl-C. `port` is for the service that
    will join; a free one if it is taken.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    out = out or Path(tempfile.mkdtemp(prefix="earmark-network-"))
    out.mkdir(parents=True, exist_ok=True)
    recordings = await asyncio.to_thread(find_recordings, folder) if folder else None
    if recordings is not None and not recordings:
        raise DemoFailed(f"no audio files in {folder}")
    async with Network() as network:
        port = free_port(port)
        url = f"http://127.0.0.1:{port}"
        labeler = create_labeler(network, endpoint=url)
        key_file = out / "label.key"
        key_file.touch(mode=0o600)
        key_file.write_text(labeler.secret_hex + "\n", encoding="ascii")
        config = out / "earmark.toml"
        values = {
            "folder": str((out / "data").absolute()),
            "stream": network.stream_url,
            "network": network.url,
            "visibility": network.visibility_url,
            "did": labeler.account.did,
            "key_file": str(key_file.absolute()),
        }
        text = CONFIG.format(port=port, **{name: orjson.dumps(value).decode() for name, value in values.items()})
        config.write_text(text, encoding="utf-8")
        say(f"test network at {network.url} (loopback only); join it with:\n  earmark --config {config} serve")
        with tempfile.TemporaryDirectory(prefix="earmark-pieces-") as pieces:
            if recordings is None:
                recordings = await unless_stopped(stop, record_pieces(Path(pieces)))
            published = await publish(network, recordings)
            for track in published:
                say(f"published {track.uri} {track.title}" + (" (hidden)" if track.hidden else ""))
            say("serving until Ctrl-C")
            await stop.wait()
