"""Listens to one file with whatever packs there are: one pass of decoding feeds every meter and every model."""

from __future__ import annotations

import os
import tempfile
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from core.analysis import SILENCE_DBFS, TaggerName
from core.errors import TooShort
from models.child import effnet, musicnn, segments
from models.child.acoustics import Meters
from models.child.block import Block, Samples
from models.child.decode import Decoder
from models.child.effnet import Effnet
from models.child.musicnn import Musicnn
from models.child.patches import choose_evenly, leave_out_silence
from models.child.profile import Profile, describe_profile
from models.child.resample import Resampler
from models.child.spectra import RATE, MelStream
from models.child.tagged import Tagged, average, average_scores
from models.wire import Heard

if TYPE_CHECKING:
    from models.child.clap import ClapAudio

LEAST_SECONDS = 3.0  # just above one patch of musicnn, 2.99 s
_CLAP_RATE = 48_000
_SILENCE_DBFS = -200.0  # stands for minus infinity
_WARM_UP_SECONDS = 4


class Listener:
    """The packs of this process, loaded and tested."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """By the packs' names. Raises PackUnfit."""
        self.musicnn = Musicnn(folders["musicnn"]) if "musicnn" in folders else None
        self.effnet = Effnet(folders["effnet"]) if "effnet" in folders else None
        self.clap = _load_clap(folders["clap"]) if "clap" in folders else None
        for pack in (self.musicnn, self.effnet, self.clap):
            if pack is not None:
                pack.self_test()

    def analyse(self, audio: BinaryIO, *, max_seconds: float) -> Heard:
        """Everything that they can tell of an open file. Raises NotAudio, Undecodable, Truncated, TooShort, TooLong."""
        decoder, hearing = Decoder(audio, max_seconds=max_seconds), _Hearing(self)
        try:
            for block in decoder.blocks():
                hearing.feed(block)
        finally:
            decoder.close()
        warnings = decoder.judge_end()
        if decoder.seconds < LEAST_SECONDS:
            raise TooShort(f"{decoder.seconds:.2f} s, the least is {LEAST_SECONDS:.1f} s")
        return hearing.conclude(decoder, warnings)

    def warm_up(self) -> None:
        """Analyse a little noise, so that whatever is loaded or built at its first use is there."""
        noise = np.random.default_rng(0).integers(-3_000, 3_000, (_WARM_UP_SECONDS * 44_100, 2), np.int16)
        with _make_scratch_file() as audio:
            with wave.open(audio, "wb") as out:
                out.setparams((2, 2, 44_100, 0, "NONE", ""))
                out.writeframes(noise.tobytes())
            audio.flush()
            self.analyse(audio, max_seconds=2 * _WARM_UP_SECONDS)


class _Hearing:
    """One file on its way through the packs."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._meters = Meters()
        self._to_16k, self._mel = Resampler(RATE), MelStream()
        self._musicnn = listener.musicnn.reserve() if listener.musicnn else None
        self._effnet = listener.effnet.reserve() if listener.effnet else None
        self._to_48k, self._clap = Resampler(_CLAP_RATE), listener.clap.listen() if listener.clap else None
        self._samples, self._energy = 0, 0.0

    def feed(self, block: Block) -> None:
        self._meters.feed_native(block)
        mono = block.mono()
        self._feed_16k(self._to_16k.feed(block.rate, mono))
        if self._clap is not None:
            self._clap.feed(self._to_48k.feed(block.rate, mono))

    def conclude(self, decoder: Decoder, warnings: list[str]) -> Heard:
        self._feed_16k(self._to_16k.finish(), last=True)
        tagged = self._tag(decoder.seconds)
        embeddings = {name: average(rows) for one in tagged for name, rows in one.embeddings.items()}
        if self._clap is not None:
            self._clap.feed(self._to_48k.finish())
            embeddings["clap"] = self._clap.finish().tolist()
        return Heard(
            container=decoder.container,
            duration_seconds=decoder.seconds,
            rms_dbfs=self._rms_dbfs(),
            scores=_mean_scores(tagged),
            embeddings=embeddings,
            acoustics=self._meters.finish(self._describe_profile(tagged)),
            segments=segments.describe(decoder.seconds, tagged),
            warnings=warnings,
        )

    def _feed_16k(self, samples: Samples, *, last: bool = False) -> None:
        self._samples += len(samples)
        self._energy += float(np.dot(samples, samples))
        self._meters.feed_mono(samples)
        spectra = [self._mel.feed(samples)]
        if last:
            spectra.append(self._mel.finish())
        for spectrum in spectra:
            self._meters.feed_spectrum(spectrum)
            for reservoir in (self._musicnn, self._effnet):
                if reservoir is not None:
                    reservoir.feed(spectrum)

    def _tag(self, seconds: float) -> list[Tagged]:
        for_segments = segments.PATCHES * len(segments.cut(seconds))
        tagged = []
        if self._listener.musicnn is not None and self._musicnn is not None:
            patches = choose_evenly(leave_out_silence(self._musicnn.finish()), max(musicnn.BUDGET, for_segments))
            tagged.append(self._listener.musicnn.tag(patches))
        if self._listener.effnet is not None and self._effnet is not None:
            sounding = leave_out_silence(self._effnet.finish(repeat_short=True))
            patches = choose_evenly(sounding, max(effnet.BUDGET, for_segments))
            tagged.append(self._listener.effnet.tag(patches))
        return tagged

    def _describe_profile(self, tagged: Sequence[Tagged]) -> Profile:
        silent = self._rms_dbfs() < SILENCE_DBFS  # the models call it music all the same
        return Profile(speech=0.0, music=0.0, voice=0.0) if silent else describe_profile(tagged)

    def _rms_dbfs(self) -> float:
        power = self._energy / self._samples if self._samples else 0.0
        return max(_SILENCE_DBFS, 10 * float(np.log10(power))) if power > 0 else _SILENCE_DBFS


def _make_scratch_file() -> BinaryIO:
    """In memory where that exists: a hardened container may have no folder to write to."""
    return os.fdopen(os.memfd_create("warm-up"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _load_clap(folder: Path) -> ClapAudio:
    from models.child.clap import ClapAudio  # noqa: PLC0415  (its front end is only paid for where it is used)

    return ClapAudio(folder)


def _mean_scores(tagged: Sequence[Tagged]) -> dict[TaggerName, list[float | None]]:
    return {tagger: average_scores(rows) for one in tagged for tagger, rows in one.scores.items()}
