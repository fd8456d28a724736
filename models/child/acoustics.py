"""What is measured rather than recognised: one set of meters for one file."""

from __future__ import annotations

from core.analysis import Acoustics
from models.child.block import Block, Samples
from models.child.key import KeyMeter
from models.child.loudness import LoudnessMeter
from models.child.profile import Profile
from models.child.spectra import Spectrum
from models.child.tempo import TempoMeter
from models.child.true_peak import PeakMeter
from models.child.waveform import Waveform


class Meters:
    """Feed what the file yields, in order, then `finish`."""

    def __init__(self) -> None:
        self._first: Block | None = None
        self._loudness, self._peaks, self._waveform = LoudnessMeter(), PeakMeter(), Waveform()
        self._tempo, self._key = TempoMeter(), KeyMeter()

    def feed_native(self, block: Block) -> None:
        """Sound as it was decoded: all channels at the file's own rate."""
        self._first = self._first or block
        self._loudness.feed(block.rate, block.channels, block.layout)
        self._peaks.feed(block.rate, block.channels)
        self._waveform.feed(block.rate, block.channels)

    def feed_mono(self, samples: Samples) -> None:
        """16 kHz mono."""
        self._key.feed(samples)

    def feed_spectrum(self, spectrum: Spectrum) -> None:
        """The shared log-mel."""
        self._tempo.feed(spectrum)

    def finish(self, profile: Profile) -> Acoustics:
        """Of at least one block. Channels and rate are those that the file began with."""
        assert self._first is not None
        loudness, loudness_range = self._loudness.finish()
        peaks = self._peaks.finish()
        bpm, bpm_confidence = self._tempo.finish()
        key, mode, key_confidence = self._key.finish()
        return Acoustics(
            bpm=bpm,
            bpm_confidence=bpm_confidence,
            key=key,
            mode=mode,
            key_confidence=key_confidence,
            loudness_lufs=loudness,
            loudness_range_lu=loudness_range,
            sample_peak_dbfs=peaks.sample_peak_dbfs,
            true_peak_dbtp=peaks.true_peak_dbtp,
            clipped=peaks.clipped,
            peaks=self._waveform.finish(),
            channels=len(self._first.channels),
            sample_rate=self._first.rate,
            speech=profile.speech,
            music=profile.music,
            voice=profile.voice,
        )
