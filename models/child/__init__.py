"""The listening child: the only place that imports a decoder, a resampler or an inference engine.

Owns what happens between an open file and the numbers that go back over the wire. Defends: a request ends in an answer
or in the death of this process, within bounded memory; it opens no file itself and knows no secret.
"""

__all__ = [
    "acoustics",
    "analyse",
    "block",
    "chunks",
    "clap",
    "clap_mel",
    "containers",
    "decode",
    "effnet",
    "key",
    "landlock",
    "loudness",
    "mel_filters",
    "musicnn",
    "patches",
    "profile",
    "resample",
    "sandbox",
    "segments",
    "selftest",
    "session",
    "spectra",
    "tagged",
    "tempo",
    "tokens",
    "true_peak",
    "waveform",
]
