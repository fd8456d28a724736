"""Music commits proven: signature, every block's hash, the tree turned back to what it was before (P142, P143).

The SDK has no such proof; beside it stands what it does have, reading the CAR and checking the signature. Then the rate
at which a backlog of the whole network is caught up with, over a websocket, every music commit proven on the way.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.stream import MUSIC, Recorded, read_stream, record_stream
from bench.worker import Worker, serve


def run(*, short: bool) -> dict[str, Any]:
    """`commits_per_cpu_second` and `catch_up_events_per_second` (by the clock), medians of rounds."""
    rounds, commits, events = (2, 200, 20_000) if short else (7, 1_000, 60_000)
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as name:
        folder, network = Path(name) / "music", Path(name) / "network"
        folder.mkdir()
        network.mkdir()
        record_stream(folder, commits, music_share=1)
        record_stream(network, events)
        with Worker("bench.verify", "ours", str(folder)) as ours, Worker("bench.verify", "sdk", str(folder)) as sdk:
            rates = [(ours.ask(), sdk.ask()) for _ in range(rounds + 1)][1:]
        with Worker("bench.socket", "server", str(network)) as server:
            port = server.ask()
            with Worker("bench.socket", "ours", str(network)) as reader:
                caught = [reader.ask(port=port) for _ in range(rounds + 1)][1:]
    rate, peer = (median(column) for column in zip(*rates, strict=True))
    return {
        "metrics": {
            "commits_per_cpu_second": round(rate),
            "catch_up_events_per_second": round(median(events / one["wall"] for one in caught)),
            "catch_up_events_per_cpu_second": round(median(events / one["cpu"] for one in caught)),
            "music_proven": caught[-1]["found"],
        },
        "peer": {"signatures_per_cpu_second": round(peer)},
        "ratio": {"commits_per_cpu_second": round(rate / peer, 1)},
    }


def _serve_ours(stream: Recorded) -> None:
    from core.keys import PublicKey
    from firehose.events import Interest
    from firehose.frames import RepoFrame, decode_repo_frame
    from firehose.verify import verify_commit

    interest = Interest(frozenset((MUSIC,)))
    keys = {did: PublicKey.from_did_key(key) for did, key in stream.keys.items()}

    def prove() -> None:
        now_us = time.time_ns() // 1000
        for frame in stream.frames:
            decoded = decode_repo_frame(frame, interest)
            assert isinstance(decoded, RepoFrame)
            assert decoded.claim is not None, decoded.refused
            claim = decoded.claim
            verify_commit(claim.message, claim.car, keys[claim.did], now_us=now_us)

    serve(lambda: _rate(stream, prove))


def _serve_sdk(stream: Recorded) -> None:
    import libipld
    from atproto import CAR
    from atproto_client.subscriptions import parse_com_atproto_sync_subscribe_repos_message as parse
    from atproto_crypto.verify import verify_signature
    from atproto_subscription.frames import Frame

    def check() -> None:
        for data in stream.frames:
            message = parse(Frame.from_bytes(data))  # type: ignore[arg-type]
            car = CAR.from_bytes(message.blocks)
            commit = dict(car.blocks[car.root])
            signature = commit.pop("sig")
            if not verify_signature(stream.keys[message.repo], libipld.encode_dag_cbor(commit), signature):
                raise RuntimeError("the SDK does not accept a signature of ours")

    serve(lambda: _rate(stream, check))


def _rate(stream: Recorded, work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return len(stream.frames) / (time.process_time() - start)


if __name__ == "__main__":
    {"ours": _serve_ours, "sdk": _serve_sdk}[sys.argv[1]](read_stream(Path(sys.argv[2])))
