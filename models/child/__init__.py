"""The listening child: the only place that imports a decoder, a resampler or an inference engine.

Owns what happens between a path and the numbers that go back over the wire. Defends: a request ends in an answer or
in the death of this process, within bounded memory; nothing but frames ever reaches the parent's pipe.
"""

__all__ = ["analyse", "containers", "decode", "musicnn", "patches", "resample", "sandbox", "spectra"]
