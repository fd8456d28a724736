"""Listens to one file: decode, resample, choose patches, spectra, taggers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.errors import TooShort
from models.child.decode import Decoder, Samples
from models.child.musicnn import Taggers
from models.child.patches import PatchReservoir
from models.child.resample import Resampler
from models.child.spectra import log_mel
from models.wire import Heard

LEAST_SECONDS = 3.0  # just above one patch of 2.99 s
_SILENCE_DBFS = -200.0  # stands for minus infinity


def analyse(path: Path, taggers: Taggers, *, max_seconds: float) -> Heard:
    """Everything that this pack can tell of a file. Raises NotAudio, Undecodable, Truncated, TooShort, TooLong."""
    decoder = Decoder(path, max_seconds=max_seconds)
    try:
        patches, rms_dbfs = listen(decoder)
    finally:
        decoder.close()
    warnings = decoder.judge_end()
    if decoder.seconds < LEAST_SECONDS:
        raise TooShort(f"{decoder.seconds:.2f} s, the least is {LEAST_SECONDS:.1f} s")
    means = taggers.tag([log_mel(patch) for patch in patches])
    return Heard(
        container=decoder.container,
        duration_seconds=decoder.seconds,
        rms_dbfs=rms_dbfs,
        patches=len(patches),
        msd=means["msd"],
        mtt=means["mtt"],
        warnings=warnings,
    )


def listen(decoder: Decoder) -> tuple[list[Samples], float]:
    """The chosen patches of 16 kHz samples, and the RMS of all of them in dBFS."""
    resampler, reservoir = Resampler(), PatchReservoir()
    energy = 0.0
    for rate, block in decoder.blocks():
        ready = resampler.feed(rate, block)
        energy += float(np.dot(ready, ready))
        reservoir.feed(ready)
    rest = resampler.finish()
    energy += float(np.dot(rest, rest))
    reservoir.feed(rest)
    power = energy / reservoir.samples if reservoir.samples else 0.0
    return reservoir.finish(), max(_SILENCE_DBFS, 10 * float(np.log10(power))) if power > 0 else _SILENCE_DBFS
