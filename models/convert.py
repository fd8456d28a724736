"""Turns the musicnn wheel into ONNX graphs without TensorFlow: `python -m models.convert WHEEL OUTDIR`.

Run as its own process, because onnx is needed here and nowhere else. The bytes written depend on the wheel and on the
onnx version only: sums that fold one layer into the next are exactly rounded, hence equal on every machine.

The network (Pons and Serra, musicnn, 2019), for one log-mel patch [187 frames, 96 bands]:
front end, two timbral convolutions (7 frames by 38 and 67 bands) and three temporal ones (128, 64, 32 frames by 1
band), each max-pooled over all bands; mid end, three 7-frame convolutions with residuals; back end, max and mean over
time, a 200-unit dense layer (the embedding, before its ReLU) and 50 sigmoids.

It is laid out for onnxruntime's blocked convolutions, which want channels by the sixteen: zero filters fill up each
layer, what reads their outputs has zero weights for them, and every step in between keeps the blocks. That is exact and
saves a third of the time.
"""

from __future__ import annotations

import ast
import json
import math
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from core.errors import Corrupt
from models.bundle import Tensor, read_bundle

TAGGERS = {"msd": "MSD_musicnn", "mtt": "MTT_musicnn"}  # our name -> folder inside the wheel
FRAMES, BANDS = 187, 96
_EPSILON = 1e-3  # of every batch normalisation (tf.layers' default)
_Number = TypeVar("_Number", np.float32, np.float64)
_TIMBRAL = ("conv2d", "conv2d_1")
_TEMPORAL = ("conv2d_2", "conv2d_3", "conv2d_4")
_MIDEND = ("conv2d_5", "conv2d_6", "conv2d_7")
_BLOCK = 16  # channels that onnxruntime computes at once: 16 with AVX-512, 8 or 16 elsewhere
_OPSET, _IR_VERSION = 17, 8  # old enough for every onnxruntime that we allow; fixed, so that bytes do not drift


def convert(wheel: Path, out: Path) -> None:
    """Write `msd.onnx`, `mtt.onnx`, `labels.json` and the licence into `out`. Raises Corrupt for any other wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            labels = _read_labels(archive.read("musicnn/configuration.py").decode())
            for tagger, folder in TAGGERS.items():
                weights = read_bundle(
                    archive.read(f"musicnn/{folder}/.index"),
                    archive.read(f"musicnn/{folder}/.data-00000-of-00001"),
                    _tensor_names(),
                )
                model = build(weights, classes=len(labels[tagger]))
                (out / f"{tagger}.onnx").write_bytes(model.SerializeToString(deterministic=True))
            (out / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")
            (out / "LICENSE.md").write_bytes(archive.read("musicnn-0.1.0.dist-info/LICENSE.md"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise Corrupt(f"{wheel.name} is not the musicnn wheel ({error})") from error


def build(weights: Mapping[str, Tensor], *, classes: int) -> onnx.ModelProto:
    """The graph: `melspectrogram` f32 [batch, 187, 96] -> `activations` [batch, classes], `embeddings` [batch, 200]."""
    graph = _Graph(weights)
    scale, shift = graph.normalisation("batch_normalization")
    image = graph.add("Unsqueeze", "melspectrogram", graph.constant("channel_axis", np.array([1], np.int64)))
    image = graph.affine(image, "input", scale, shift)
    front = graph.add(
        "Concat",
        *(graph.pooled_convolution(image, name, f"batch_normalization_{i}") for i, name in enumerate(_TIMBRAL, 1)),
        *(graph.pooled_convolution(image, name, f"batch_normalization_{i}") for i, name in enumerate(_TEMPORAL, 3)),
        axis=1,
    )
    channels = _fill_blocks(*(len(weights[f"{name}/bias"]) for name in (*_TIMBRAL, *_TEMPORAL)))
    layers, residual = [front], None
    for i, name in enumerate(_MIDEND, 6):
        inputs = channels if residual is None else np.arange(len(weights[f"{name}/bias"]))
        layer = graph.midend_convolution(layers[-1], inputs, name, f"batch_normalization_{i}")
        residual = layer if residual is None else graph.add("Add", layer, residual)
        layers.append(residual)
    channels = np.r_[channels, channels.max() + 1 : len(weights["dense/kernel"]) // 2]
    features = graph.add("Concat", *layers, axis=1)  # [batch, 753 and the zeros, 187, 1]
    pooled = graph.add("Concat", graph.add("GlobalMaxPool", features), graph.add("GlobalAveragePool", features), axis=1)
    # TensorFlow's flatten interleaves max and mean (0::2 and 1::2); we lay all maxima before all means.
    order = np.r_[np.where(channels < 0, -1, 2 * channels), np.where(channels < 0, -1, 2 * channels + 1)]
    graph.dense(graph.add("Flatten", pooled), "dense", "batch_normalization_9", order, output="embeddings")
    hidden = graph.add("Relu", "embeddings")
    logits = graph.dense(hidden, "dense_1", "batch_normalization_10", np.arange(len(weights["dense_1/kernel"])))
    graph.add("Sigmoid", logits, output="activations")
    return graph.finish(classes=classes, units=len(weights["dense/bias"]))


class _Graph:
    """Collects nodes and constants; every method returns the name of its output."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        kind = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
        little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        self._constants.append(helper.make_tensor(name, kind, values.shape, little_endian.tobytes(), raw=True))
        return name

    def normalisation(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(scale, shift) of a frozen batch normalisation, in float64."""
        gamma, beta, mean, variance = (
            self._weights[f"{name}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        return scale, beta - mean * scale

    def affine(self, source: str, name: str, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> str:
        """Channel-wise scale and shift of [batch, channel, time, band].

        A normalisation by mean 0 and variance 1: unlike Mul and Add that keeps the blocks.
        """
        parts = {"scale": scale, "shift": shift, "mean": np.zeros(len(scale)), "variance": np.ones(len(scale))}
        constants = [self.constant(f"{name}_{part}", values.astype(np.float32)) for part, values in parts.items()]
        return self.add("BatchNormalization", source, *constants, epsilon=0.0)

    def pooled_convolution(self, image: str, name: str, norm: str) -> str:
        """Convolution, ReLU, normalisation, maximum over all bands -> [batch, filter and zeros, time, 1].

        ReLU and normalisation act after the maximum, on 1/30 to 1/96 of the values. That is exact: both are monotone,
        increasing where gamma is positive and decreasing where it is negative. There the maximum turns into a minimum,
        which is a maximum once the filter's sign is flipped.
        """
        kernel, bias = self._weights[f"{name}/kernel"], self._weights[f"{name}/bias"]
        frames, bands = kernel.shape[:2]
        filters = _fill_blocks(len(bias))
        scale, shift = (_gather(values, filters) for values in self.normalisation(norm))
        sign = np.where(scale < 0, np.float32(-1), np.float32(1))
        # Zero padding in time only (bands are covered or 1 wide); an even kernel has its extra zero at the end, as
        # TensorFlow's SAME has.
        before = (frames - 1) // 2
        convolved = self.add(
            "Conv",
            image,
            self.constant(f"{name}_kernel", _gather(kernel.transpose(3, 2, 0, 1), filters) * sign[:, None, None, None]),
            self.constant(f"{name}_bias", _gather(bias, filters) * sign),
            pads=[before, 0, frames - 1 - before, 0],
        )
        highest = self.add("MaxPool", convolved, kernel_shape=[1, BANDS - bands + 1])
        restored = self.affine(highest, f"{name}_sign", sign, np.zeros(len(sign)))
        return self.affine(self.add("Relu", restored), name, scale, shift)

    def midend_convolution(self, source: str, channels: NDArray[np.intp], name: str, norm: str) -> str:
        """A 7-frame convolution over all channels, ReLU, normalisation (which stays behind it: the padding is zero).

        `channels` says which one of TensorFlow's each channel of the source is.
        """
        kernel, bias = self._weights[f"{name}/kernel"], self._weights[f"{name}/bias"]  # [7, channels, 1, 64]
        convolved = self.add(
            "Conv",
            source,
            self.constant(f"{name}_kernel", _gather(kernel.transpose(1, 3, 0, 2), channels).swapaxes(0, 1)),
            self.constant(f"{name}_bias", bias),
            pads=[3, 0, 3, 0],
        )
        return self.affine(self.add("Relu", convolved), name, *self.normalisation(norm))

    def dense(self, source: str, name: str, norm: str, order: NDArray[np.intp], *, output: str | None = None) -> str:
        """A dense layer with the normalisation before it folded in; `order` tells which input is where, -1 for none."""
        kernel = self._weights[f"{name}/kernel"].astype(np.float64)
        scale, shift = self.normalisation(norm)
        folded = _gather(kernel * scale[:, None], order).astype(np.float32)
        # fsum rounds once, whatever the order of the machine's vector units.
        offsets = [math.fsum(column) for column in (kernel * shift[:, None]).T.tolist()]
        bias = (self._weights[f"{name}/bias"].astype(np.float64) + np.array(offsets)).astype(np.float32)
        inputs = (source, self.constant(f"{name}_kernel", folded), self.constant(f"{name}_bias", bias))
        return self.add("Gemm", *inputs, output=output)

    def finish(self, *, classes: int, units: int) -> onnx.ModelProto:
        def declare(name: str, *shape: str | int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

        graph = helper.make_graph(
            self._nodes,
            "musicnn",
            [declare("melspectrogram", "batch", FRAMES, BANDS)],
            [declare("activations", "batch", classes), declare("embeddings", "batch", units)],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="earmark")
        onnx.checker.check_model(model, full_check=True)
        return model


def _fill_blocks(*sizes: int) -> NDArray[np.intp]:
    """Layers of these sizes after each other, each filled up to whole blocks: the number of each channel, or -1."""
    parts, first = [], 0
    for size in sizes:
        parts += [np.arange(first, first + size), np.full(-size % _BLOCK, -1)]
        first += size
    return np.concatenate(parts)


def _gather(values: NDArray[_Number], places: NDArray[np.intp]) -> NDArray[_Number]:
    """The rows of these numbers; zeros for -1."""
    return np.concatenate([values, np.zeros_like(values[:1])])[places]


def _tensor_names() -> frozenset[str]:
    """The 64 tensors that inference needs (the bundle also holds the optimiser's)."""
    norms = ["batch_normalization", *(f"batch_normalization_{i}" for i in range(1, 11))]
    layers = [*_TIMBRAL, *_TEMPORAL, *_MIDEND, "dense", "dense_1"]
    return frozenset(
        [f"{norm}/{part}" for norm in norms for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        + [f"{layer}/{part}" for layer in layers for part in ("kernel", "bias")]
    )


def _read_labels(source: str) -> dict[str, list[str]]:
    """Tag names in output order, from the literal assignments of the wheel's configuration (never executed)."""
    literals = {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return {"msd": literals["MSD_LABELS"], "mtt": literals["MTT_LABELS"]}


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Corrupt as error:
        sys.exit(str(error))
