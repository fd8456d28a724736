"""`python -m bench list`, `python -m bench NAME... [--json] [--short]`, `python -m bench --all`.

`--json` prints one document `{name: {metrics, peer, ratio, machine}}`; a ratio has its metric's name as key.
Without its peer installed (`make bench-peers`) a ratio says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

BENCHES = {
    "decode": "frames of a relay to events, against the SDK's usual pattern (goal: 20x; memory flat over 10 M frames)",
    "socket": "the same end to end over a websocket, against the SDK's client (goal: 15x)",
    "verify": "music commits proven, and how fast a backlog of the whole network is caught up with",
    "blobs": "audio from a host to a verified file, against httpx (goal: 2x)",
    "packs": "file to analysis by pack set, stage, format and length (goals: default 5.5 CPU s and 500 MB)",
    "musicnn": "one tagger against Essentia-TensorFlow on the same PCM (goals: 1/2 at equal hop, 1/5 at the defaults)",
    "children": "tracks an hour with one child and two, the parent's lag meanwhile (goals: near 2x, p99 50 ms)",
    "latency": "seconds from the commit on the demo's PDS to the label on the stream (gate: p95 10 s)",
    "sign": "labels encoded, hashed and signed, against the cryptography package (goal: 10x) and noble in Node",
    "query": "queryLabels, exact and by prefix, of 50 000 and 1 000 000 labels (goal: 7 500 a CPU s, or 0.40 of bare)",
    "replay": "50 000 labels to 10 subscribers (goals: 500 000 a CPU second, worst query meanwhile 100 ms, 200 MB)",
    "fanout": "live labels to 1 000 subscribers: from commit to arrival (goal: p99 100 ms on an idle machine)",
    "create": "labels made live by 64 tasks that await their commit, synchronous=FULL (goal: 15 000 a CPU second)",
    "skeleton": "getFeedSkeleton, 100 000 tracks (goals: 14 000 anonymous, 7 000 with a token a CPU s; p99 5 ms)",
    "index": "vectors searched, graphs rebuilt, synthetic and heard (goals: recall@50 .99, no removed track returned)",
    "snapshots": "20 feeds over 100 000 tracks ranked anew: time, memory, and the event loop's lag (goal: p99 50 ms)",
    "mmr": "500 tracks to 50 that are good and unlike each other, against the textbook's loops (goal: 50x)",
    "month": "30 days of a mood feed, 200 to 20 000 tracks: who had a turn (goal: 9 in 10 of the admitted)",
}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "arch": platform.machine(),
        "python": platform.python_version(),
    }


def flatten(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Figures of figures as `outer.inner`."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run, or `list`")
    parser.add_argument("--all", action="store_true", help="run every benchmark")
    parser.add_argument("--short", action="store_true", help="some ten seconds each: a smoke test, not a measurement")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    wanted = parser.parse_args()
    names = list(BENCHES) if wanted.all else wanted.names
    if not names or names == ["list"]:
        for name, about in BENCHES.items():
            print(f"{name:12} {about}")
        return 0
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    results: dict[str, Any] = {}
    for name in names:
        began = time.monotonic()
        results[name] = importlib.import_module(f"bench.{name}").run(short=wanted.short) | {"machine": machine()}
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr)
        if not wanted.json:
            for part in ("metrics", "peer", "ratio"):
                for key, value in flatten(results[name].get(part, {})):
                    print(f"  {part:8} {key:40} {value}")
    if wanted.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
