"""Stand-ins for the effnet pack: EfficientNet-B0 in full with random weights, and its heads.

Names, shapes, operators and size are those of discogs-effnet-bsdynamic-1.onnx (18 MB), so speed and memory are measured
honestly; what it says of music means nothing. Random weights alone would fade or saturate after 80 layers, so the graph
is evaluated on a few spectrum-like patches while it is built, and each convolution is scaled to mean 0 and deviation 1
per channel, as batch normalisation leaves a trained network. The same seed gives the same weights on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FRAMES, BANDS, EMBEDDING, STYLES = 128, 96, 1280, 400

Array = NDArray[np.float32]

# EfficientNet-B0: (expansion, channels, blocks, stride of the first, kernel); Tan and Le 2019, table 1.
_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
           (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
_STEM = 32
_SQUEEZE = 4  # squeeze-and-excitation keeps a quarter of a block's input channels
_CALIBRATION_PATCHES = 24
_FLOOR = 0.1  # of a layer's mean power, added to each channel's variance
_STYLE_LOGIT_MEAN, _STYLE_LOGIT_SPREAD = -4.0, 0.5  # a few of 400 sigmoids above .1, as on music
_HIDDEN = {2: 100, 56: 512}  # classes -> width of a head's hidden layer


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    """A value of the graph, and what it is for the calibration patches."""

    name: str
    value: Array


@dataclass(slots=True)
class _Graph:
    """Nodes and weights so far. Every method adds nodes and evaluates them."""

    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], value: Array, name: str = "", **attributes: object) -> _Tensor:
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"n_{name}", **attributes))
        return _Tensor(name, value)

    def weight(self, value: Array) -> str:
        name = f"w_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def convolve(
        self, x: _Tensor, channels: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False, lift: float = 0.0
    ) -> _Tensor:
        """A convolution [n, c, t, f] -> [n, channels, t / stride, f / stride], calibrated; `lift` is its mean."""
        within = 1 if depthwise else x.value.shape[1]
        weights = self.random.standard_normal((channels, within, kernel, kernel)).astype(np.float32)
        value = _convolve(x.value, weights, stride, depthwise=depthwise)
        mean = value.mean(axis=(0, 2, 3))
        # The floor keeps what the patches happen to agree on from being blown up where another input differs.
        deviation = np.sqrt(value.var(axis=(0, 2, 3)) + _FLOOR * np.mean(value**2))
        weights /= deviation[:, None, None, None]
        bias = np.float32(lift) - mean / deviation
        value = value / deviation[:, None, None] + bias[:, None, None]
        return self.add(
            "Conv",
            [x.name, self.weight(weights), self.weight(bias)],
            value,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=channels if depthwise else 1,
        )

    def sigmoid(self, x: _Tensor, name: str = "") -> _Tensor:
        return self.add("Sigmoid", [x.name], 1 / (1 + np.exp(-x.value)), name)

    def multiply(self, x: _Tensor, y: _Tensor) -> _Tensor:
        return self.add("Mul", [x.name, y.name], x.value * y.value)

    def swish(self, x: _Tensor) -> _Tensor:
        return self.multiply(x, self.sigmoid(x))

    def pool(self, x: _Tensor) -> _Tensor:
        return self.add("GlobalAveragePool", [x.name], x.value.mean(axis=(2, 3), keepdims=True))

    def excite(self, x: _Tensor, squeezed: int) -> _Tensor:
        """Squeeze and excitation: each channel is weighed by what all of them say."""
        small = self.swish(self.convolve(self.pool(x), squeezed))
        # Gates that are mostly open: half open ones would all open on louder input, doubling it block after block.
        return self.multiply(x, self.sigmoid(self.convolve(small, x.value.shape[1], lift=2.0)))

    def block(self, x: _Tensor, expansion: int, channels: int, stride: int, kernel: int) -> _Tensor:
        """MBConv: expand, convolve each channel, excite, project; added to its input where shapes allow."""
        before = x.value.shape[1]
        wide = self.swish(self.convolve(x, before * expansion)) if expansion > 1 else x
        wide = self.swish(self.convolve(wide, before * expansion, kernel, stride, depthwise=True))
        out = self.convolve(self.excite(wide, max(1, before // _SQUEEZE)), channels)
        return self.add("Add", [x.name, out.name], x.value + out.value) if out.value.shape == x.value.shape else out


def build_effnet(path: Path, *, seed: int = 20_261_121) -> None:
    """Write the style tagger: melspectrogram f32 [n, 128, 96] -> activations [n, 400] sigmoid, embeddings [n, 1280]."""
    random = np.random.default_rng(seed)
    graph = _Graph(random)
    patches = _imagine_patches(random, _CALIBRATION_PATCHES)
    image = graph.add("Unsqueeze", ["melspectrogram", graph.weight(np.array([1], np.int64))], patches[:, None])
    x = graph.swish(graph.convolve(image, _STEM, 3, 2))
    for expansion, channels, blocks, stride, kernel in _STAGES:
        for number in range(blocks):
            x = graph.block(x, expansion, channels, stride if number == 0 else 1, kernel)
    x = graph.pool(graph.swish(graph.convolve(x, EMBEDDING)))
    embeddings = graph.add("Flatten", [x.name], x.value[:, :, 0, 0], "embeddings")
    weights = random.standard_normal((EMBEDDING, STYLES)).astype(np.float32)
    logits = embeddings.value @ weights
    # One deviation for all classes: what calibrates each channel would make every style as likely as another.
    scale = np.float32(_STYLE_LOGIT_SPREAD / logits.std())
    bias = (_STYLE_LOGIT_MEAN - scale * logits.mean(axis=0)).astype(np.float32)
    bias += 0.5 * random.standard_normal(STYLES).astype(np.float32)
    dense = graph.add(
        "Gemm", [embeddings.name, graph.weight(weights * scale), graph.weight(bias)], logits * scale + bias
    )
    graph.sigmoid(dense, "activations")
    _save(
        path,
        graph,
        {"melspectrogram": ["n", FRAMES, BANDS]},
        {"activations": ["n", STYLES], "embeddings": ["n", EMBEDDING]},
    )


def build_head(path: Path, classes: int, *, seed: int | None = None) -> None:
    """Write a head: embeddings f32 [n, 1280] -> activations [n, classes]; softmax of 2, sigmoid of 56.

    The seed is by default that of the file's name, so that no two heads of a pack agree.
    """
    random = np.random.default_rng(list(path.name.encode()) if seed is None else seed)
    graph = _Graph(random)
    hidden = _HIDDEN[classes]
    # Embeddings of the stand-in are means of swished channels: about .7 with a deviation of as much.
    first = (random.standard_normal((EMBEDDING, hidden)) / np.sqrt(EMBEDDING)).astype(np.float32)
    second = (0.4 * random.standard_normal((hidden, classes)) / np.sqrt(hidden)).astype(np.float32)
    bias = np.full(classes, 0.0 if classes == 2 else -2.5, np.float32)
    none = np.zeros((1, 1), np.float32)  # nothing to calibrate
    x = graph.add("Gemm", ["embeddings", graph.weight(first), graph.weight(-0.7 * first.sum(axis=0))], none)
    x = graph.add("Relu", [x.name], none)
    x = graph.add("Gemm", [x.name, graph.weight(second), graph.weight(bias)], none)
    graph.add("Softmax", [x.name], none, "activations", axis=1) if classes == 2 else graph.sigmoid(x, "activations")
    _save(path, graph, {"embeddings": ["n", EMBEDDING]}, {"activations": ["n", classes]})


def _imagine_patches(random: np.random.Generator, count: int) -> Array:
    """f32 [count, 128, 96] that lie where log-mel spectra lie: 0 to 4, falling with frequency, from faint to loud."""
    bands, frames = np.arange(BANDS) / BANDS, np.arange(FRAMES)
    patches = []
    for _ in range(count):
        slope = random.uniform(0.0, 4.0) - random.uniform(0.0, 3.5) * bands
        beat = random.uniform(0.0, 1.5) * np.exp(-(frames % random.integers(12, 80)) / random.uniform(2, 20))
        tones = random.uniform(0, 2.5) * random.random(BANDS) * (random.random(BANDS) < random.uniform(0.05, 0.4))
        noise = random.uniform(0.0, 0.5) * random.standard_normal((FRAMES, BANDS))
        patches.append(np.clip(slope + tones + beat[:, None] + noise, 0, 5))
    return np.stack(patches).astype(np.float32)


def _convolve(x: Array, weights: Array, stride: int, *, depthwise: bool) -> Array:
    """The convolution of ONNX with symmetric padding, as sums over the kernel's places."""
    kernel = weights.shape[-1]
    if kernel == 1 and stride == 1:
        return np.einsum("oc,nctf->notf", weights[:, :, 0, 0], x, optimize=True)
    side = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (side, side), (side, side)))
    height, width = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
    total = np.zeros((x.shape[0], weights.shape[0], height, width), np.float32)
    for i in range(kernel):
        for j in range(kernel):
            part = padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            if depthwise:
                total += weights[:, 0, i, j][:, None, None] * part
            else:
                total += np.einsum("oc,nctf->notf", weights[:, :, i, j], part, optimize=True)
    return total


def _save(path: Path, graph: _Graph, inputs: dict[str, list[object]], outputs: dict[str, list[object]]) -> None:
    described = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]
        for values in (inputs, outputs)
    ]
    body = helper.make_graph(graph.nodes, path.stem, *described, graph.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], producer_name="earmark stand-in")
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
