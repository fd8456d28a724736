"""Frames of a relay to events of interest: ours, against the SDK's usual pattern on the same bytes.

The SDK's documented way: parse the message, read its CAR, make a model of every created record, look at its type.
Goal: 20 times as many frames a CPU second (stretch: 28), every music record found, memory flat over 10 million frames.
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
from bench.worker import Worker, resident_mb, serve

MANY = 10_000_000


def run(*, short: bool) -> dict[str, Any]:
    """`frames_per_cpu_second` by consumer. Rounds alternate, and the ratio is the median of each round's, since a busy
    machine's speed changes from one second to the next.
    """
    rounds = 5 if short else 25
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        record_stream(Path(folder), 20_000)
        wanted = len(read_stream(Path(folder)).music)
        with Worker("bench.decode", "ours", folder) as ours, Worker("bench.decode", "sdk", folder) as sdk:
            whole = {"ours": ours.ask(consumer="music")["found"], "sdk": sdk.ask(consumer="sdk")["found"]}
            told = [
                [
                    ours.ask(consumer="music")["rate"],
                    sdk.ask(consumer="sdk", at_most=4_000)["rate"],
                    ours.ask(consumer="posts")["rate"],
                ]
                for _ in range(rounds)
            ]
            flat = {} if short else ours.ask(consumer="music", again=MANY)
    if set(whole.values()) != {wanted}:
        raise RuntimeError(f"found of {wanted} music records: {whole}")
    music, peer, posts = (median(column) for column in zip(*told, strict=True))
    metrics: dict[str, Any] = {
        "frames_per_cpu_second": round(music),
        "posts_frames_per_cpu_second": round(posts),
        "music_found": whole["ours"],
        "music_published": wanted,
    }
    if flat:
        metrics |= {"frames_for_memory": MANY, "rss_start_mb": flat["before"], "rss_end_mb": flat["after"]}
    return {
        "metrics": metrics,
        "peer": {"frames_per_cpu_second": round(peer), "music_found": whole["sdk"]},
        "ratio": {"frames_per_cpu_second": round(median(ours / theirs for ours, theirs, _ in told), 1)},
    }


def _serve_ours(stream: Recorded) -> None:
    from firehose.events import Event, Interest, RecordEvent
    from firehose.frames import decode_repo_frame
    from firehose.links import POSTS, LinkRules
    from firehose.mapping import load_mapping, page_hosts

    mapping = load_mapping()
    rules = LinkRules(frozenset(mapping), page_hosts(mapping))
    interests = {
        "music": Interest(frozenset(mapping)),
        "posts": Interest(frozenset((POSTS,)), {POSTS: rules.needles()}),
    }

    def read(consumer: str) -> int:
        interest, found = interests[consumer], 0
        for frame in stream.frames:
            decoded = decode_repo_frame(frame, interest)
            if decoded is None or isinstance(decoded, int):
                continue
            found += sum(_is_music(event) for event in decoded.events)
        return found

    def _is_music(event: Event) -> bool:
        return isinstance(event, RecordEvent) and event.collection == MUSIC and event.record is not None

    def answer(consumer: str, again: int = 0) -> dict[str, Any]:
        told, before = _timed(len(stream.frames), lambda: read(consumer)), resident_mb()
        for _ in range(again // len(stream.frames)):
            read(consumer)
        return told | {"before": before, "after": resident_mb()}

    serve(answer)


def sdk_finder() -> Callable[[Any], int]:
    """What counts the music records in a frame, as the SDK's examples go about it."""
    from atproto import CAR, models
    from atproto_client.subscriptions import parse_com_atproto_sync_subscribe_repos_message as parse

    def find(frame: Any) -> int:
        message = parse(frame)
        if not isinstance(message, models.ComAtprotoSyncSubscribeRepos.Commit) or not message.blocks:
            return 0
        found, car = 0, CAR.from_bytes(message.blocks)
        for op in message.ops:
            if op.action != "create" or not op.cid:
                continue
            raw = car.blocks.get(op.cid)
            record = models.get_or_create(raw, strict=False)
            found += record is None and raw is not None and raw["$type"] == MUSIC  # it has models of Bluesky's only
        return found

    return find


def _serve_sdk(stream: Recorded) -> None:
    from atproto_subscription.frames import Frame, MessageFrame

    find = sdk_finder()

    def read(at_most: int) -> int:
        frames = (Frame.from_bytes(data) for data in stream.frames[:at_most])
        return sum(find(frame) for frame in frames if isinstance(frame, MessageFrame))

    def answer(consumer: str, at_most: int = 0) -> dict[str, Any]:
        at_most = at_most or len(stream.frames)
        return _timed(at_most, lambda: read(at_most))

    serve(answer)


def _timed(frames: int, read: Callable[[], int]) -> dict[str, Any]:
    start = time.process_time()
    found = read()
    return {"rate": frames / (time.process_time() - start), "found": found}


if __name__ == "__main__":
    {"ours": _serve_ours, "sdk": _serve_sdk}[sys.argv[1]](read_stream(Path(sys.argv[2])))
