"""What other libraries take for single stages of listening; a process of its own, asked by `bench.packs`.

The tempo's peer makes its own spectra, ours reads those that the taggers need anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.worker import cpu_seconds, serve


def main() -> None:
    def load(path: str) -> tuple[Any, int]:
        import soundfile

        return soundfile.read(path, dtype="float32")

    def decode(path: str) -> Callable[[], object]:
        import soxr

        def work() -> None:
            pcm, rate = load(path)
            soxr.resample(pcm.mean(axis=1), rate, 16_000, "HQ")

        return work

    def mel(path: str) -> Callable[[], object]:
        import librosa
        import numpy as np
        import soxr

        pcm, rate = load(path)
        mono = soxr.resample(pcm.mean(axis=1), rate, 16_000, "HQ")
        make = librosa.feature.melspectrogram
        return lambda: np.log10(1 + 10_000 * make(y=mono, sr=16_000, n_fft=512, hop_length=256, n_mels=96))

    def tempo(path: str) -> Callable[[], object]:
        import librosa

        pcm, rate = load(path)
        mono = librosa.resample(pcm.mean(axis=1), orig_sr=rate, target_sr=22_050)
        return lambda: librosa.beat.beat_track(y=mono, sr=22_050)

    def loudness(path: str) -> Callable[[], object]:
        import pyloudnorm

        pcm, rate = load(path)
        return lambda: pyloudnorm.Meter(rate).integrated_loudness(pcm)

    peers = {"decode": decode, "mel": mel, "tempo": tempo, "loudness": loudness}
    warm: set[str] = set()

    def answer(work: str, path: str) -> float | None:
        """None where the peer is not installed or cannot read the format."""
        try:
            prepared = peers[work](path)
            if work not in warm:  # imports, tables and compilation are not what is compared
                prepared()
                warm.add(work)
            return cpu_seconds(prepared)
        except (ImportError, RuntimeError):
            return None

    serve(answer)


if __name__ == "__main__":
    main()
