"""What each set of packs costs for a 3-minute stereo track: file to analysis, warm, one thread, a process per set.

The processes run the listening child's own code with a stopwatch around its stages; their peak memory is a child's.
effnet is a stand-in of the true architecture with random weights, clap the full-size towers of `make references` where
those exist (`clap` under `stand_ins` says what was measured). The top-level `cpu_seconds` and `rss_mb` are the default
set's. Peers, where they are installed: libsndfile with one-shot soxr for decoding, librosa for the spectra and the
tempo, pyloudnorm for the loudness. The formats differ in decoding only.
Goals: default 5.5 CPU seconds (stretch 3) and 500 MB (350); effnet+clap 5 (2.5); all sets 750 MB (500).
Short: the default set at full length once, the others on half a minute, clap with few layers, no peers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.audio import FORMATS, write
from bench.stopwatch import Stopwatch
from bench.worker import Worker, cpu_seconds, peak_resident_mb, serve

SECONDS, SHORT_SECONDS = 180, 30
DEFAULT = "musicnn"
SETS = (DEFAULT, "effnet+musicnn", "clap+musicnn", "effnet+clap")
DURATIONS = (1, 3, 10, 60)  # minutes
PEERS = {  # and what to say without one
    **{f"decode_{suffix}_cpu_seconds": "libsndfile does not read this format" for suffix in FORMATS},
    "mel_cpu_seconds": "librosa is not installed",
    "tempo_cpu_seconds": "librosa is not installed",
    "loudness_cpu_seconds": "pyloudnorm is not installed (make bench-peers)",
}


def run(*, short: bool) -> dict[str, Any]:
    """Metrics, peers, ratios (peer by ours: above 1 we are faster)."""
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as name:
        folder = Path(name)
        packs, stand_ins = _install(folder, short=short)
        tracks = {suffix: write(folder / f"track.{suffix}", SECONDS) for suffix in (["mp3"] if short else FORMATS)}
        brief = write(folder / "brief.mp3", SHORT_SECONDS) if short else tracks["mp3"]
        metrics: dict[str, Any] = {"track_seconds": SECONDS, "stand_ins": stand_ins}
        rounds = 1 if short else 5
        for chosen in SETS:
            track, seconds = (brief, SHORT_SECONDS) if short and chosen != DEFAULT else (tracks["mp3"], SECONDS)
            metrics[chosen] = _measure_set(chosen, packs, track, rounds) | {"track_seconds": seconds}
        metrics |= {key: metrics[DEFAULT][key] for key in ("cpu_seconds", "rss_mb")}
        peer: dict[str, float] = {}
        if not short:
            metrics |= _measure_formats(packs, tracks, rounds, peer)
            metrics["durations"] = _measure_durations(folder, packs)
    ratio: dict[str, Any] = {"cpu_seconds": "no peer does the whole of it (musicnn compares the tagger)"}
    for key, what in PEERS.items():
        mine = metrics.get(key) or metrics[DEFAULT]["stages"].get(key.removesuffix("_cpu_seconds"))
        if short:
            ratio[key] = "peers are left out in short mode"
        elif key in peer:
            ratio[key] = round(peer[key] / mine, 2)
        else:
            ratio[key] = f"no peer: {what}"
    return {"metrics": metrics, "peer": peer, "ratio": ratio}


def _install(folder: Path, *, short: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """The real musicnn pack and stand-ins for the others, by the same pull; and what the latter are."""
    from bench.graphs.catalogue import write_stand_ins
    from bench.references.folder import find_full_clap
    from core.home import default_home
    from models.catalogue import get_pack
    from models.pack import Consent
    from models.pull import pull

    full_clap = None if short else find_full_clap()
    packs = {"musicnn": pull("musicnn", default_home()).folder}
    catalogue = write_stand_ins(folder / "stand-ins", full_clap=full_clap)
    for name in ("effnet", "clap"):
        consent = Consent(get_pack(name, catalogue).licence, "2026-01-01T00:00:00Z", "bench")
        source = catalogue.parent
        packs[name] = pull(name, folder / "home", source=source, catalogue=catalogue, consent=consent).folder
    clap = "full size" if full_clap else "few layers: NOT the true size" + ("" if short else " (make references)")
    return packs, {"effnet": "EfficientNet-B0 in full, random weights", "clap": f"{clap}, random weights"}


def _name_folders(chosen: str, packs: dict[str, Path]) -> str:
    return ",".join(f"{name}={packs[name]}" for name in chosen.split("+"))


def _measure_set(chosen: str, packs: dict[str, Path], track: Path, rounds: int) -> dict[str, Any]:
    with Worker("bench.packs", _name_folders(chosen, packs)) as worker:
        start = worker.ask(work="resident")
        spent = [worker.ask(work="analyse", path=str(track)) for _ in range(rounds)]
        resident = worker.ask(work="resident")
    total = round(median(one["total"] for one in spent), 3)
    stages = {stage: round(median(one["stages"][stage] for one in spent), 3) for stage in spent[0]["stages"]}
    stages = dict(sorted(stages.items(), key=lambda stage: -stage[1]))
    return {"cpu_seconds": total, "rss_mb": resident, "rss_warm_mb": start, "stages": stages}


def _measure_formats(
    packs: dict[str, Path], tracks: dict[str, Path], rounds: int, peer: dict[str, float]
) -> dict[str, float]:
    """Decoding and resampling to 16 kHz by format; the peers' rounds, which go into `peer`, in between."""
    mine: dict[str, list[float]] = {}
    others: dict[str, list[float | None]] = {}
    with (
        Worker("bench.packs", _name_folders(DEFAULT, packs)) as ours,
        Worker("bench.listening_peers") as theirs,
    ):
        for _ in range(rounds):
            for suffix, track in tracks.items():
                key = f"decode_{suffix}_cpu_seconds"
                mine.setdefault(key, []).append(ours.ask(work="decode", path=str(track)))
                others.setdefault(key, []).append(theirs.ask(work="decode", path=str(track)))
            for work in ("mel", "tempo", "loudness"):
                found = theirs.ask(work=work, path=str(tracks["mp3"]))
                others.setdefault(f"{work}_cpu_seconds", []).append(found)
    peer |= {key: round(median(values), 3) for key, all_ in others.items() if (values := [v for v in all_ if v])}
    return {key: round(median(values), 3) for key, values in mine.items()}


def _measure_durations(folder: Path, packs: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Seconds a minute of audio, and the peak memory after each, shortest first: bounded, whatever the length."""
    found = {}
    with Worker("bench.packs", _name_folders(DEFAULT, packs)) as worker:
        for minutes in DURATIONS:
            track = write(folder / "long.flac", 60 * minutes)
            spent = worker.ask(work="analyse", path=str(track))["total"]
            found[f"{minutes}_minutes"] = {
                "cpu_seconds": round(spent, 3),
                "cpu_seconds_a_minute": round(spent / minutes, 3),
                "file_mb": round(track.stat().st_size / 1e6, 1),
                "rss_mb": worker.ask(work="resident"),
            }
            track.unlink()
    return found


# --- inside the processes ----------------------------------------------------------------------------------------


def _serve_ours(folders: dict[str, Path]) -> None:
    from models.child.analyse import Listener
    from models.child.decode import Decoder, silence_libav
    from models.child.resample import Resampler

    silence_libav()
    stopwatch = Stopwatch()
    _watch_stages(stopwatch)
    listener = Listener(folders)
    listener.warm_up()

    def decode(path: str) -> None:
        resampler = Resampler(16_000)
        with Path(path).open("rb") as audio:
            decoder = Decoder(audio, max_seconds=86_400)
            for block in decoder.blocks():
                resampler.feed(block.rate, block.mono())
            resampler.finish()
            decoder.close()

    def answer(work: str, path: str = "") -> Any:
        if work == "resident":
            return peak_resident_mb()
        if work == "decode":
            return cpu_seconds(lambda: decode(path))
        stopwatch.spent.clear()
        with Path(path).open("rb") as audio:
            total = cpu_seconds(lambda: listener.analyse(audio, max_seconds=86_400))
        stages = dict(stopwatch.spent)
        return {"total": total, "stages": stages | {"other": total - sum(stages.values())}}

    serve(answer)


def _watch_stages(stopwatch: Stopwatch) -> None:
    from models.child import clap, decode, effnet, key, loudness, musicnn, resample, spectra, tempo, true_peak, waveform

    stopwatch.watch("decode", decode.Decoder, "__init__", "close", "judge_end")
    decode.Decoder.blocks = stopwatch.around_steps("decode", decode.Decoder.blocks)
    stopwatch.watch("mono", decode.Block, "mono")
    stopwatch.watch("resample", resample.Resampler, "feed", "finish")
    stopwatch.watch("mel", spectra.MelStream, "feed", "finish")
    stopwatch.watch("loudness", loudness.LoudnessMeter, "feed", "finish")
    stopwatch.watch("true_peak", true_peak.PeakMeter, "feed", "finish")
    stopwatch.watch("waveform", waveform.Waveform, "feed", "finish")
    stopwatch.watch("tempo", tempo.TempoMeter, "feed", "finish")
    stopwatch.watch("key", key.KeyMeter, "feed", "finish")
    stopwatch.watch("clap_mel", clap, "log_mel")
    for module in (musicnn, effnet, clap):
        stages = {"discogs": "effnet", "audio_model": "clap_audio"}
        stopwatch.watch_sessions(module, stages | dict.fromkeys(("mtg_", "dance", "mood_", "voice_"), "effnet_heads"))


if __name__ == "__main__":
    _serve_ours({name: Path(folder) for name, _, folder in (one.partition("=") for one in sys.argv[1].split(","))})
