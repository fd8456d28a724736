"""Makes a faster audio tower from the published one of the clap pack: `python -I -m models.quantise FOLDER`.

The published graph is quantised dynamically with unsigned weights, for which processors have no instruction: an 8-bit
dot product takes one unsigned and one signed operand, and activations are the unsigned ones already. Shifting a
matrix and its zero point by the same number makes it signed and changes no product, so the outputs stay what they were
and a third of the time goes (measured: 18 windows in 1.10 and 0.78 CPU seconds).

Run as its own process, because onnx is needed. Writes `audio_model_fast.onnx`, and only if it proves itself against
the published graph here, on this processor; the bytes depend on the published file and the onnx version only.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models.child.clap import FAST_MODEL, PUBLISHED_MODEL, ClapAudio
from models.child.clap_mel import RATE, WINDOW, log_mel

LEAST_COSINE = 0.999  # of the two graphs' embeddings of the same window, the worst one
_WINDOWS = 6
_SEVEN_BITS = 127


class Stays(Exception):
    """There is no faster graph, and why. The published one goes on being used."""


def quantise(folder: Path) -> float:
    """Write the fast graph; the worst cosine of its embeddings to the published one's.

    Raises PackUnfit when the published graph cannot be opened and Stays, leaving no fast graph, for any other reason.
    """
    fast = folder / FAST_MODEL
    fast.unlink(missing_ok=True)
    published = ClapAudio(folder)
    try:
        return _derive(published, folder)
    except Exception as error:  # onnx and onnxruntime have dozens of types, and memory may lack
        fast.unlink(missing_ok=True)
        raise Stays(str(error) or type(error).__name__) from error


def _derive(published: ClapAudio, folder: Path) -> float:
    model = onnx.load(folder / PUBLISHED_MODEL)
    if not sign_weights(model):
        raise Stays("nothing to gain")
    (folder / FAST_MODEL).write_bytes(model.SerializeToString(deterministic=True))
    derived = ClapAudio(folder)
    derived.self_test()
    cosine = _compare(published, derived)
    if not cosine >= LEAST_COSINE:  # NaN is not
        raise Stays(f"cosine {cosine:.6f}, the least is {LEAST_COSINE}")
    return cosine


def sign_weights(model: onnx.ModelProto) -> int:
    """Make the unsigned weights of the integer matrix products signed, in place; how many weights that were."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger" and len(node.input) == 4]
    uses = Counter(name for node in model.graph.node for name in node.input)
    changed = 0
    for (weight, zero), count in Counter((node.input[1], node.input[3]) for node in products).items():
        pair = [tensors[name] for name in (weight, zero) if name in tensors and uses[name] == count]
        if [tensor.data_type for tensor in pair] != [onnx.TensorProto.UINT8] * 2:
            continue  # signed already, computed on the way, or something else reads them as well
        values = [numpy_helper.to_array(tensor).astype(np.int16) for tensor in pair]
        # Weights of 7 bits stay within 7: without VNNI, pairs of 8 by 8 bit products are summed in 16, which overflows.
        shift = 64 if max(each.max() for each in values) <= _SEVEN_BITS else 128
        for tensor, each in zip(pair, values, strict=True):
            tensor.CopyFrom(numpy_helper.from_array((each - shift).astype(np.int8), tensor.name))
        changed += 1
    return changed


def _compare(one: ClapAudio, other: ClapAudio) -> float:
    cosines = []
    for number in range(_WINDOWS):
        window = log_mel(_synthesise(number))
        a, b = one.embed(window).astype(np.float64), other.embed(window).astype(np.float64)
        cosines.append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return float(np.min(cosines))


def _synthesise(number: int) -> NDArray[np.float32]:
    """Ten seconds of a chord, a beat and noise, each time in another mixture."""
    generator = np.random.default_rng(number)
    t = np.arange(WINDOW) / RATE
    chord = np.sin(2 * np.pi * np.outer(55 * 2 ** generator.uniform(0, 6, 4), t)).mean(axis=0)
    beat = np.exp(-20 * (t * generator.uniform(1, 3) % 1.0)) * np.sin(2 * np.pi * 60 * t)
    noise = generator.standard_normal(WINDOW)
    level = 10 ** generator.uniform(-3, -0.7, 3)
    mixture: NDArray[np.float32] = (level @ np.stack([chord, beat, noise])).astype(np.float32)
    return mixture


def main() -> None:
    try:
        cosine = quantise(Path(sys.argv[1]))
    except Stays as reason:
        print(f"the published audio model stays: {reason}")  # noqa: T201  (the parent shows it)
    else:
        print(f"a faster audio model, cosine {cosine:.6f} to the published one")  # noqa: T201


if __name__ == "__main__":
    main()
