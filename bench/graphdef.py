"""MSD_musicnn as the frozen TensorFlow graph that Essentia loads, made from the weights of the musicnn wheel.

Essentia's own `msd-musicnn-1.pb` lies on a host that not everybody can reach; its 64 inference tensors are bit for bit
those of the wheel. This writes the same network, layer by layer as the authors trained it (convolution, bias, ReLU,
frozen normalisation, pooling; nothing folded), as a GraphDef: a protocol buffer of nodes, of which only the few fields
used here are encoded, by hand, because TensorFlow's own encoder is half a gigabyte.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Tensor, read_bundle

INPUT, OUTPUT = "model/Placeholder", "model/Sigmoid"  # the nodes that Essentia looks for
_FRAMES, _BANDS = 187, 96
_EPSILON = 1e-3
_FLOAT, _INT32 = 1, 3  # tensorflow.DataType
_PRODUCER = 27  # GraphDef version of the TensorFlow 1.15 that such graphs were frozen with
_NORMS = ("batch_normalization", *(f"batch_normalization_{i}" for i in range(1, 11)))
_LAYERS = ("conv2d", *(f"conv2d_{i}" for i in range(1, 8)), "dense", "dense_1")


def freeze(wheel: Path, pb: Path, folder: str = "MSD_musicnn") -> None:
    """Write the graph: `model/Placeholder` f32 [?, 187, 96] -> `model/Sigmoid` f32 [?, 50]. Raises Corrupt."""
    names = [f"{norm}/{part}" for norm in _NORMS for part in ("gamma", "beta", "moving_mean", "moving_variance")]
    names += [f"{layer}/{part}" for layer in _LAYERS for part in ("kernel", "bias")]
    with zipfile.ZipFile(wheel) as archive:
        index, shard = (archive.read(f"musicnn/{folder}/{name}") for name in (".index", ".data-00000-of-00001"))
    pb.write_bytes(_build(read_bundle(index, shard, frozenset(names))))


def _build(weights: Mapping[str, Tensor]) -> bytes:
    graph = _Graph(weights)
    patches = graph.node("Placeholder", [], INPUT, dtype=_type(_FLOAT), shape=_shape((-1, _FRAMES, _BANDS)))
    image = graph.normalise(graph.expand(patches), "batch_normalization")
    padded = graph.pad(image, 3)
    front = [graph.front_end(padded, "conv2d", 1, b"VALID"), graph.front_end(padded, "conv2d_1", 2, b"VALID")]
    front += [graph.front_end(image, f"conv2d_{i}", i + 1, b"SAME") for i in (2, 3, 4)]
    layers = [graph.expand(graph.concat(front))]
    for i in (5, 6, 7):
        layer = graph.convolve(graph.pad(layers[-1], 3), f"conv2d_{i}", b"VALID")
        layer = graph.normalise(layer, f"batch_normalization_{i + 1}")
        layer = graph.node("Transpose", [layer, graph.integers(0, 1, 3, 2)], T=_type(_FLOAT), Tperm=_type(_INT32))
        layers.append(layer if i == 5 else graph.node("AddV2", [layer, layers[-1]], T=_type(_FLOAT)))
    features = graph.concat(layers)  # [?, 187, 753, 1]
    pooled = graph.concat([graph.reduce("Max", features), graph.reduce("Mean", features)])
    flat = graph.node("Reshape", [pooled, graph.integers(-1, 1506)], T=_type(_FLOAT), Tshape=_type(_INT32))
    hidden = graph.node("Relu", [graph.dense(graph.scale(flat, "batch_normalization_9"), "dense")], T=_type(_FLOAT))
    logits = graph.dense(graph.scale(hidden, "batch_normalization_10"), "dense_1")
    graph.node("Sigmoid", [logits], OUTPUT, T=_type(_FLOAT))
    return graph.finish()


class _Graph:
    """Collects encoded nodes; every method returns its output's name. Attributes arrive encoded as AttrValue."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._nodes: list[bytes] = []

    def node(self, operator: str, inputs: list[str], name: str = "", **attributes: bytes) -> str:
        name = name or f"model/{operator}_{len(self._nodes)}"
        body = _bytes(1, name.encode()) + _bytes(2, operator.encode())
        body += b"".join(_bytes(3, source.encode()) for source in inputs)
        for key, value in sorted(attributes.items()):
            body += _bytes(5, _bytes(1, key.encode()) + _bytes(2, value))
        self._nodes.append(_bytes(1, body))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int32]) -> str:
        kind = _INT32 if values.dtype == np.int32 else _FLOAT
        dimensions = b"".join(_bytes(2, _varint(1, size)) for size in values.shape)
        tensor = _varint(1, kind) + _bytes(2, dimensions) + _bytes(4, np.ascontiguousarray(values).tobytes())
        return self.node("Const", [], dtype=_type(kind), value=_bytes(8, tensor))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int32))

    def expand(self, source: str) -> str:
        """Adds a last axis, the channel."""
        return self.node("ExpandDims", [source, self.constant(np.array(3, np.int32))], T=_type(_FLOAT))

    def pad(self, source: str, frames: int) -> str:
        rows = self.constant(np.array([[0, 0], [frames, frames], [0, 0], [0, 0]], np.int32))
        return self.node("Pad", [source, rows], T=_type(_FLOAT), Tpaddings=_type(_INT32))

    def concat(self, sources: list[str]) -> str:
        inputs = [*sources, self.constant(np.array(2, np.int32))]
        return self.node("ConcatV2", inputs, T=_type(_FLOAT), Tidx=_type(_INT32), N=_varint(3, len(sources)))

    def reduce(self, operator: str, source: str) -> str:
        axes = [source, self.integers(1)]
        return self.node(operator, axes, T=_type(_FLOAT), Tidx=_type(_INT32), keep_dims=_varint(5, 0))

    def convolve(self, source: str, layer: str, padding: bytes) -> str:
        """[?, time, band, channel]: convolution, bias, ReLU."""
        kernel = self.constant(self._weights[f"{layer}/kernel"])
        strides = _integers(1, 1, 1, 1)
        summed = self.node("Conv2D", [source, kernel], T=_type(_FLOAT), padding=_bytes(2, padding), strides=strides)
        biased = self.node("BiasAdd", [summed, self.constant(self._weights[f"{layer}/bias"])], T=_type(_FLOAT))
        return self.node("Relu", [biased], T=_type(_FLOAT))

    def normalise(self, source: str, norm: str) -> str:
        parts = (self._weights[f"{norm}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        inputs = [source, *map(self.constant, parts)]
        attributes = {"epsilon": b"\x25" + struct.pack("<f", _EPSILON), "is_training": _varint(5, 0)}
        return self.node("FusedBatchNormV3", inputs, T=_type(_FLOAT), U=_type(_FLOAT), **attributes)

    def front_end(self, image: str, layer: str, norm: int, padding: bytes) -> str:
        """Convolution, normalisation, maximum over all bands -> [?, 187, filters]."""
        bands = _BANDS - self._weights[f"{layer}/kernel"].shape[1] + 1
        layer = self.normalise(self.convolve(image, layer, padding), f"batch_normalization_{norm}")
        window = _integers(1, 1, bands, 1)
        attributes = {"ksize": window, "strides": window, "padding": _bytes(2, b"VALID")}
        highest = self.node("MaxPool", [layer], T=_type(_FLOAT), **attributes)
        return self.node("Squeeze", [highest], T=_type(_FLOAT), squeeze_dims=_integers(2))

    def scale(self, source: str, norm: str) -> str:
        """The normalisation of [?, units], which TensorFlow does not fuse."""
        gamma, beta, mean, variance = (
            self._weights[f"{norm}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + _EPSILON)
        scaled = self.node("Mul", [source, self.constant(factor.astype(np.float32))], T=_type(_FLOAT))
        shift = self.constant((beta - mean * factor).astype(np.float32))
        return self.node("AddV2", [scaled, shift], T=_type(_FLOAT))

    def dense(self, source: str, layer: str) -> str:
        product = self.node("MatMul", [source, self.constant(self._weights[f"{layer}/kernel"])], T=_type(_FLOAT))
        return self.node("BiasAdd", [product, self.constant(self._weights[f"{layer}/bias"])], T=_type(_FLOAT))

    def finish(self) -> bytes:
        return b"".join(self._nodes) + _bytes(4, _varint(1, _PRODUCER))


# --- protocol buffers: a field is its number and wire type, then a varint or a length and bytes ----------------


def _varint(field: int, value: int) -> bytes:
    """An integer, enumeration or truth value; negative ones as 64-bit two's complement."""
    return _number(field << 3) + _number(value & (1 << 64) - 1)


def _bytes(field: int, content: bytes) -> bytes:
    """A string, bytes, message or packed list."""
    return _number(field << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _type(kind: int) -> bytes:
    return _varint(6, kind)


def _shape(sizes: tuple[int, ...]) -> bytes:
    return _bytes(7, b"".join(_bytes(2, _varint(1, size)) for size in sizes))


def _integers(*values: int) -> bytes:
    return _bytes(1, _bytes(3, b"".join(map(_number, values))))
