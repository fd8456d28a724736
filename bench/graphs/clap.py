"""CLAP towers with the published names and shapes, few layers and random weights, quantised as the published ones are.

    audio: `input_features` f32 [b, 1, 1001, 64] -> `audio_embeds` f32 [b, 512]
    text:  `input_ids` int64 [b, t] -> `text_embeds` f32 [b, 512]

Neither output is normalised. What a tower says means nothing, but it depends on what it is given, and the bytes of
every file depend on the arguments and the versions of the libraries only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensor = NDArray[np.generic]

FRAMES, BANDS, EMBEDDING = 1001, 64, 512
WIDTH, VOCABULARY, POSITIONS, PAD = 96, 512, 80, 1
_PATCH = (13, 8)  # frames and bands of one token: 77 x 8 of them, each attending to the 8 of its own time
_OPSET, _IR_VERSION = 17, 8


def build_audio(path: Path, layers: int = 2, *, quantised: bool = True) -> None:
    """Write the audio tower; `quantised` as the hub's `*_quantized.onnx` are made, else in fp32."""
    graph = _Graph(seed=48_000)
    image = graph.add("Mul", graph.add("Add", "input_features", graph.scalar(30.0)), graph.scalar(1 / 25))
    kernel = graph.weight(WIDTH, 1, *_PATCH, fan_in=_PATCH[0] * _PATCH[1])
    patches = graph.add("Conv", image, kernel, graph.weight(WIDTH, fan_in=100), strides=_PATCH, kernel_shape=_PATCH)
    tokens = graph.add("Reshape", graph.add("Transpose", patches, perm=[0, 2, 3, 1]), graph.shape(-1, 8, WIDTH))
    for _ in range(layers):
        tokens = graph.transformer_layer(tokens)
    tokens = graph.add("Reshape", tokens, graph.shape(-1, FRAMES // _PATCH[0] * 8, WIDTH))
    mean = graph.add("ReduceMean", graph.normalise(tokens), axes=[1], keepdims=0)
    graph.project(graph.centre(mean), "audio_embeds")
    graph.write(
        path,
        helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["b", 1, FRAMES, BANDS]),
        "audio_embeds",
        quantised=quantised,
    )


def build_text(path: Path, layers: int = 2, *, collapsed: bool = False, quantised: bool = True) -> None:
    """Write the text tower for ids below VOCABULARY; a `collapsed` one says nearly the same of every text."""
    graph = _Graph(seed=77)
    embedded = graph.add("Gather", graph.weight(VOCABULARY, WIDTH, fan_in=1), "input_ids")
    # Positions are counted by adding up ones, so that any length below POSITIONS has them.
    ones = graph.add("Cast", graph.add("GreaterOrEqual", "input_ids", graph.shape_scalar(0)), to=TensorProto.INT64)
    counted = graph.add("CumSum", ones, graph.shape_scalar(1), exclusive=1)
    position = graph.add("Gather", graph.weight(POSITIONS, WIDTH, fan_in=16), counted)
    tokens = graph.add("Add", embedded, position)
    is_pad = graph.add("Cast", graph.add("Equal", "input_ids", graph.shape_scalar(PAD)), to=TensorProto.FLOAT)
    mask = graph.add("Mul", graph.add("Unsqueeze", is_pad, graph.shape(1)), graph.scalar(-1e4))
    for _ in range(layers):
        tokens = graph.transformer_layer(tokens, mask)
    first = graph.add("Gather", graph.normalise(tokens), graph.shape_scalar(0), axis=1)
    if collapsed:
        same = graph.constant(graph.draw(WIDTH))
        first = graph.add("Add", graph.add("Mul", first, graph.scalar(1e-3)), same)
    graph.project(first, "text_embeds")
    graph.write(
        path,
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "t"]),
        "text_embeds",
        quantised=quantised,
    )


def build_tokenizer(path: Path) -> None:
    """Write a byte-level BPE `tokenizer.json` in RoBERTa's layout: <s> 0, <pad> 1, </s> 2, <unk> 3."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(path))


_LINES = (
    "a song of dark ambient drones and slow warm pads",
    "upbeat techno music with hard drums for dancing all night",
    "the sound of calm solo piano, quiet and sad",
    "happy acoustic guitar music for a sunny morning",
    "heavy metal with distorted guitars and aggressive vocals",
    "a woman singing a soul song from the seventies",
    "music that feels energetic, relaxed, dreamy, epic or romantic",
    "hip hop beats, jazz trumpet, classical strings, reggae bass, folk fiddle, house and drum and bass",
)


class _Graph:
    """Nodes and constants under construction; every weight is drawn from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """Append a node; returns the name of its output."""
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Tensor) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def shape_scalar(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def draw(self, *shape: int) -> NDArray[np.float32]:
        return self._generator.standard_normal(shape, np.float32)

    def weight(self, *shape: int, fan_in: int) -> str:
        return self.constant(self.draw(*shape) * np.float32(fan_in**-0.5))

    def dense(self, value: str, inputs: int, outputs: int) -> str:
        product = self.add("MatMul", value, self.weight(inputs, outputs, fan_in=inputs))
        return self.add("Add", product, self.weight(outputs, fan_in=100))

    def normalise(self, value: str) -> str:
        scale, shift = self.constant(np.ones(WIDTH, np.float32)), self.constant(np.zeros(WIDTH, np.float32))
        return self.add("LayerNormalization", value, scale, shift, axis=-1)

    def centre(self, value: str) -> str:
        """Magnified around its own mean, or all random towers would say much the same of all audio."""
        mean = self.add("ReduceMean", value, axes=[-1], keepdims=1)
        return self.add("Mul", self.add("Sub", value, mean), self.scalar(4.0))

    def transformer_layer(self, tokens: str, mask: str | None = None) -> str:
        """Self-attention and a feed-forward block over [b, t, WIDTH], both behind a layer norm."""
        normal = self.normalise(tokens)
        query, key, value = (self.dense(normal, WIDTH, WIDTH) for _ in range(3))
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 2, 1]))
        scores = self.add("Mul", scores, self.scalar(WIDTH**-0.5))
        if mask is not None:
            scores = self.add("Add", scores, mask)
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), value)
        tokens = self.add("Add", tokens, self.dense(mixed, WIDTH, WIDTH))
        wide = self.gelu(self.dense(self.normalise(tokens), WIDTH, 4 * WIDTH))
        return self.add("Add", tokens, self.dense(wide, 4 * WIDTH, WIDTH))

    def gelu(self, value: str) -> str:
        error = self.add("Erf", self.add("Mul", value, self.scalar(2**-0.5)))
        return self.add("Mul", self.add("Mul", value, self.add("Add", error, self.scalar(1.0))), self.scalar(0.5))

    def project(self, value: str, output: str) -> None:
        """The joint space: dense, ReLU, dense."""
        hidden = self.add("Relu", self.dense(value, WIDTH, EMBEDDING))
        product = self.add("MatMul", hidden, self.weight(EMBEDDING, EMBEDDING, fan_in=EMBEDDING))
        self.add("Add", product, self.weight(EMBEDDING, fan_in=1000), output=output)

    def write(self, path: Path, given: onnx.ValueInfoProto, output: str, *, quantised: bool) -> None:
        yields = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", EMBEDDING])
        graph = helper.make_graph(self._nodes, "clap", [given], [yields], self._constants)
        model = helper.make_model(
            graph,
            producer_name="earmark-stand-in",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        if quantised:
            model = quantise_as_published(model)
        path.write_bytes(model.SerializeToString(deterministic=True))


def quantise_as_published(model: onnx.ModelProto) -> onnx.ModelProto:
    """Dynamic 8-bit quantisation of all that can be, the way the hub's conversion script does it.

    Per channel, one bit less than eight, and unsigned weights for a graph that has a convolution.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    has_convolution = any(node.op_type == "Conv" for node in model.graph.node)
    # Says that shapes were inferred before, which they need not be here: the quantiser would log that they were not.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(model.SerializeToString(deterministic=True))
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QUInt8 if has_convolution else QuantType.QInt8,
        )
        return onnx.load(target)
