"""What the default pack costs for a 3-minute stereo mp3: file to analysis, warm, one thread, one process.

The mp3 is synthesised here (chords, bass, drums), so that the figures need no foreign audio. A fresh process runs the
child's own code; its peak resident memory is the listening child's. Peers: libsndfile with one-shot soxr for decoding,
librosa for the spectra of the same patches. Gates (issue 2): 5.5 CPU seconds and 600 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECONDS, RATE = 180, 44_100
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(short: bool) -> dict[str, Any]:
    """Metrics, peers, ratios (peer by ours: above 1 we are faster). Short does the same work once, not five times."""
    from core.home import default_home
    from models.pull import pull

    pack = pull("musicnn", default_home())
    rounds = 1 if short else 5
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp3")
        write_mp3(clip, compose(SECONDS))
        command = [sys.executable, __file__, str(clip), str(pack.folder), str(rounds)]
        answer = subprocess.run(command, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, check=True)
    measured: dict[str, Any] = json.loads(answer.stdout)
    metrics, peer = measured["metrics"], measured["peer"]
    ratio: dict[str, float | str] = {name: round(value / metrics[name], 2) for name, value in peer.items()}
    if short:
        ratio |= dict.fromkeys(("decode_cpu_seconds", "mel_cpu_seconds"), "peers are left out in short mode")
    ratio["tagger_cpu_seconds"] = "no peer installed (Essentia-TensorFlow needs weights that no package index has)"
    return {"metrics": metrics, "peer": peer, "ratio": ratio}


def compose(seconds: int) -> NDArray[np.float32]:
    """f32 [2, n] at 44.1 kHz: a four-chord loop at 120 beats a minute with bass, kick, snare and hi-hat."""
    rng = np.random.default_rng(20_261_121)
    bar = np.arange(2 * RATE) / RATE  # four beats
    beat = bar % 0.5
    kick = 0.5 * np.exp(-beat * 14) * np.sin(2 * np.pi * (50 * beat + 4 * (1 - np.exp(-beat * 30))))
    snare = 0.25 * np.exp(-((bar + 0.5) % 1.0) * 20) * rng.standard_normal(len(bar))
    hat = 0.08 * np.exp(-(bar % 0.25) * 60) * rng.standard_normal(len(bar))
    bars = []
    for root in (110.0, 87.31, 130.81, 98.0):  # A F C G
        partials = [root * step * harmonic for step in (2, 2.52, 3) for harmonic in (1, 2, 3)]
        chord = sum(np.sin(2 * np.pi * hz * bar + i) / (2 + i % 3 * 2) for i, hz in enumerate(partials))
        bass = 0.25 * np.sin(2 * np.pi * root / 2 * bar) * (1 - np.exp(-beat * 40))
        shimmer = 0.1 * np.sin(2 * np.pi * root * 4 * bar) * np.sin(2 * np.pi * 3 * bar)
        middle = 0.08 * chord + bass + kick + snare
        bars.append(np.stack([middle + hat + shimmer, middle - shimmer + 0.5 * hat]))
    loop = np.concatenate(bars, axis=1)
    repeated = np.tile(loop, (1, -(-seconds * RATE // loop.shape[1])))[:, : seconds * RATE].astype(np.float32)
    swell = 0.75 + 0.25 * np.sin(2 * np.pi * np.arange(repeated.shape[1], dtype=np.float32) / (RATE * 37))
    return repeated * swell.astype(np.float32) * np.float32(0.8)


def write_mp3(path: Path, pcm: NDArray[np.float32]) -> None:
    """Stereo 44.1 kHz at 192 kbit/s."""
    import av

    with av.open(str(path), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=RATE, layout="stereo", format="fltp")
        stream.bit_rate = 192_000
        stream.codec_context.options = {"compression_level": "9"}  # the encoder's speed; decoding does not notice
        for start in range(0, pcm.shape[1], 1152):
            frame = av.AudioFrame.from_ndarray(pcm[:, start : start + 1152].copy(), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def measure(clip: Path, pack_folder: Path, rounds: int) -> dict[str, Any]:
    """Inside the fresh process: CPU seconds by stage (medians), then peak memory, then the peers."""
    from models.child.analyse import listen
    from models.child.decode import Decoder
    from models.child.musicnn import Taggers
    from models.child.spectra import log_mel

    taggers = Taggers(pack_folder)
    times: dict[str, list[float]] = {"decode_cpu_seconds": [], "mel_cpu_seconds": [], "tagger_cpu_seconds": []}
    patches: list[NDArray[np.float32]] = []

    def decode() -> None:
        decoder = Decoder(clip, max_seconds=10_800)
        patches[:] = listen(decoder)[0]
        decoder.close()
        decoder.judge_end()

    for _ in range(rounds):
        times["decode_cpu_seconds"].append(_cpu_seconds(decode))
        spectra: list[NDArray[np.float32]] = []
        times["mel_cpu_seconds"].append(_cpu_seconds(lambda: spectra.extend(log_mel(patch) for patch in patches)))  # noqa: B023
        times["tagger_cpu_seconds"].append(_cpu_seconds(lambda: taggers.tag(spectra)))  # noqa: B023
    metrics = {name: round(median(values), 4) for name, values in times.items()}
    metrics["cpu_seconds"] = round(median(map(sum, zip(*times.values(), strict=True))), 4)
    metrics["rss_mb"] = round(_peak_resident_bytes() / 2**20, 1)
    return {"metrics": metrics, "peer": _measure_peers(clip, patches, rounds) if rounds > 1 else {}}


def _measure_peers(clip: Path, patches: list[NDArray[np.float32]], rounds: int) -> dict[str, float]:
    import librosa
    import soundfile
    import soxr

    def decode() -> None:
        pcm, rate = soundfile.read(clip, dtype="float32")
        soxr.resample(pcm.mean(axis=1), rate, 16_000, "HQ")

    def spectra() -> None:
        for patch in patches:
            mel = librosa.feature.melspectrogram(y=patch, sr=16_000, n_fft=512, hop_length=256, n_mels=96, center=False)
            np.log10(1 + 10_000 * mel)

    spectra()  # imports and tables are not what is compared
    return {
        "decode_cpu_seconds": round(median(_cpu_seconds(decode) for _ in range(rounds)), 4),
        "mel_cpu_seconds": round(median(_cpu_seconds(spectra) for _ in range(rounds)), 4),
    }


def _peak_resident_bytes() -> int:
    if sys.platform == "linux":  # getrusage would count what the parent had when it forked
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
