"""`... make_mel_references FILE.npz`: what transformers' ClapFeatureExtractor makes of a few sounds.

With the parameters of laion/clap-htsat-unfused (its `rand_trunc` path; `fusion` has another filter bank). Of each sound
every tenth frame is kept, f32 [101, 64] in dB, and its first samples, by which who makes the sounds again can tell
whether they are the same. The file is what the tests compare our own front end with, without transformers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE, EVERY = 48_000, 10
RECIPE = """48 kHz mono f32, t = n / 48000, noise = numpy default_rng(seed).standard_normal:
music: 10 s, .3 sin(220 Hz) + .2 sin(sweep 100 Hz to 12.1 kHz) + .02 noise (seed 1), all times (1 + sin(.7 Hz)) / 2
faint: 10 s, .0003 sin(1 kHz) + .00001 noise (seed 2)
short: 2.9 s, .25 times the sign of sin(97 Hz) + .01 noise (seed 3); repeated three times, then silence"""


def make_sounds() -> dict[str, NDArray[np.float32]]:
    """The recipe, cooked."""
    turn = 2 * np.pi

    def time(seconds: float) -> NDArray[np.float64]:
        return np.arange(round(seconds * RATE)) / RATE

    def noise(seed: int, like: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.random.default_rng(seed).standard_normal(len(like))

    t, brief = time(10.0), time(2.9)
    music = 0.3 * np.sin(turn * 220 * t) + 0.2 * np.sin(turn * (100 * t + 600 * t**2)) + 0.02 * noise(1, t)
    faint = 3e-4 * np.sin(turn * 1000 * t) + 1e-5 * noise(2, t)
    short = 0.25 * np.sign(np.sin(turn * 97 * brief)) + 0.01 * noise(3, brief)
    sounds = {"music": music * (1 + np.sin(turn * 0.7 * t)) / 2, "faint": faint, "short": short}
    return {name: sound.astype(np.float32) for name, sound in sounds.items()}


def make(path: Path) -> None:
    """Write the file, some 70 kB."""
    import transformers

    extract = transformers.ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=RATE,
        hop_length=480,
        max_length_s=10,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=14_000,
        truncation="rand_trunc",
        padding="repeatpad",
    )
    kept: dict[str, NDArray[np.generic]] = {
        "recipe": np.array(RECIPE),
        "made_by": np.array(f"transformers {transformers.__version__}"),
    }
    for name, sound in make_sounds().items():
        image = extract(sound, sampling_rate=RATE, return_tensors="np")["input_features"]
        kept[f"{name}_first_samples"] = sound[:8]
        kept[f"{name}_mel"] = image[0, 0, ::EVERY].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **kept)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
