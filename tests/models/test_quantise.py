"""The faster audio tower that is derived when the clap pack is pulled."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.graphs.clap import build_audio
from core.errors import Corrupt
from models import quantise
from models.catalogue import get_pack
from models.child.clap import FAST_MODEL, PUBLISHED_MODEL, ClapAudio
from models.child.selftest import PackUnfit
from models.pack import pack_folder
from models.pull import pull


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    build_audio(folder / PUBLISHED_MODEL, 2)
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "clap"))


def _weights(path: Path) -> list[onnx.TensorProto]:
    graph = onnx.load(path).graph
    names = {name for node in graph.node if node.op_type == "MatMulInteger" for name in (node.input[1], node.input[3])}
    return [tensor for tensor in graph.initializer if tensor.name in names]


def test_the_fast_graph_says_what_the_published_one_says(folder: Path) -> None:
    published = ClapAudio(folder)
    assert quantise.quantise(folder) > 0.999999
    signed = _weights(folder / FAST_MODEL)
    assert {tensor.data_type for tensor in _weights(folder / PUBLISHED_MODEL)} == {TensorProto.UINT8}
    assert {tensor.data_type for tensor in signed} == {TensorProto.INT8}
    # Seven bits stay seven: no processor's 16-bit sums of two products can overflow.
    assert max(np.abs(numpy_helper.to_array(tensor).astype(int)).max() for tensor in signed) <= 64
    window = np.random.default_rng(5).uniform(-90, 10, (1001, 64)).astype(np.float32)
    np.testing.assert_allclose(ClapAudio(folder).embed(window), published.embed(window), rtol=1e-4, atol=1e-4)


def test_its_bytes_depend_on_the_published_ones_only(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for place in (folder, other):
        subprocess.run([sys.executable, "-I", "-m", "models.quantise", str(place)], check=True)
    assert (folder / FAST_MODEL).read_bytes() == (other / FAST_MODEL).read_bytes()


def test_it_runs_in_a_process_of_its_own_and_says_what_it_did(folder: Path) -> None:
    before = (folder / PUBLISHED_MODEL).read_bytes()
    answer = subprocess.run(
        [sys.executable, "-I", "-m", "models.quantise", str(folder)], check=True, capture_output=True, text=True
    )
    assert "faster" in answer.stdout
    assert not answer.stderr
    assert sorted(path.name for path in folder.iterdir()) == [FAST_MODEL, PUBLISHED_MODEL]
    assert (folder / PUBLISHED_MODEL).read_bytes() == before


def test_a_graph_without_unsigned_weights_stays(tmp_path: Path) -> None:
    build_audio(tmp_path / PUBLISHED_MODEL, 1, quantised=False)
    with pytest.raises(quantise.Stays, match="nothing to gain"):
        quantise.quantise(tmp_path)
    assert not (tmp_path / FAST_MODEL).exists()


def test_a_graph_that_says_something_else_is_thrown_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(model: onnx.ModelProto) -> int:
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and tensor.dims:
                values = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(values[..., ::-1].copy(), tensor.name))
        return 1

    monkeypatch.setattr(quantise, "sign_weights", spoil)
    with pytest.raises(quantise.Stays, match=r"cosine .*, the least is 0\.999"):
        quantise.quantise(folder)
    assert not (folder / FAST_MODEL).exists()


def _list_weights_as_inputs(path: Path) -> None:
    """As exporters do on keep_initializers_as_inputs: the graph then promises each weight's type a second time."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    path.write_bytes(model.SerializeToString())


def test_a_graph_that_cannot_be_changed_stays(folder: Path) -> None:
    _list_weights_as_inputs(folder / PUBLISHED_MODEL)
    ClapAudio(folder).self_test()
    (folder / FAST_MODEL).write_bytes(b"left by an earlier run")
    with pytest.raises(quantise.Stays, match="Type Error"):
        quantise.quantise(folder)
    assert not (folder / FAST_MODEL).exists()


def test_a_lack_of_memory_keeps_the_published_graph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(*_: object) -> float:
        raise MemoryError

    monkeypatch.setattr(quantise, "_compare", lack)
    with pytest.raises(quantise.Stays, match="MemoryError"):
        quantise.quantise(folder)
    assert not (folder / FAST_MODEL).exists()


def test_a_damaged_graph_is_named(folder: Path) -> None:
    (folder / PUBLISHED_MODEL).write_bytes(b"no graph")
    with pytest.raises(PackUnfit, match=PUBLISHED_MODEL):
        quantise.quantise(folder)


def _product(weight: NDArray[np.generic], zero: NDArray[np.generic], *, also_read: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMulInteger", ["x", "w", "xz", "wz"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", weight.shape[1]])]
    if also_read:
        nodes.append(helper.make_node("Cast", ["w"], ["weights"], to=TensorProto.FLOAT))
        outputs.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, weight.shape))
    constants = {"w": weight, "wz": zero, "xz": np.array(7, np.uint8)}
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", weight.shape[0]])],
        outputs,
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto) -> NDArray[np.int32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).integers(0, 256, (5, 40), np.uint8)
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize(("highest", "lowest_signed"), [(127, -64), (255, -128)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_no_product_changes(highest: int, lowest_signed: int, per_channel: bool) -> None:
    generator = np.random.default_rng(highest)
    weight = generator.integers(0, highest + 1, (40, 24), np.uint8)
    weight[0, :2] = 0, highest
    zero = generator.integers(0, highest + 1, 24 if per_channel else (), np.uint8)
    model = _product(weight, np.asarray(zero))
    expected = _run(model)
    assert quantise.sign_weights(model) == 1
    signed = numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "w"))
    assert signed.dtype == np.int8
    assert signed.min() == lowest_signed
    if highest == 127:  # with more bits, what a processor without VNNI makes of it is for the comparison to judge
        np.testing.assert_array_equal(_run(model), expected)


def test_weights_that_something_else_reads_stay() -> None:
    weight = np.full((40, 24), 9, np.uint8)
    assert quantise.sign_weights(_product(weight, np.array(3, np.uint8), also_read=True)) == 0
    assert quantise.sign_weights(_product(weight.astype(np.int8), np.array(3, np.int8))) == 0


def test_a_pull_derives_it(stand_in_home: tuple[Path, Path]) -> None:
    home, _ = stand_in_home
    assert (home / "models" / "clap" / FAST_MODEL).is_file()


def _declare_changed(folder: Path, catalogue: Path, change: Callable[[Path], None]) -> Path:
    """A catalogue in the folder whose clap pack, beside it, has another audio graph."""
    shutil.copytree(catalogue.parent / "clap", folder / "clap")
    graph = folder / "clap" / PUBLISHED_MODEL
    change(graph)
    content, pack = graph.read_bytes(), get_pack("clap", catalogue)
    changed = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = tuple(
        msgspec.structs.replace(file, **changed) if file.path == PUBLISHED_MODEL else file for file in pack.files
    )
    path = folder / "packs.json"
    path.write_bytes(msgspec.json.encode([msgspec.structs.replace(pack, files=files)]))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_list_weights_as_inputs, r"the published audio model stays: .*Type Error"),
        (
            lambda graph: graph.write_bytes(b"no graph"),
            r"installed without what that makes: .*models\.quantise.* failed",
        ),
    ],
)
def test_a_pull_does_without_it(
    stand_in_home: tuple[Path, Path], tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    catalogue = _declare_changed(tmp_path, stand_in_home[1], change)
    steps: list[str] = []
    pull("clap", tmp_path / "home", source=tmp_path, catalogue=catalogue, progress=steps.append)
    assert not (pack_folder(tmp_path / "home", "clap") / FAST_MODEL).exists()
    assert [step for step in steps if re.search(says, step)], steps


def test_a_pull_does_without_a_converter_that_does_not_end(
    stand_in_home: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.wheel._CONVERT_DEADLINE_SECONDS", 0.05)
    steps: list[str] = []
    source = stand_in_home[1].parent
    pull("clap", tmp_path, source=source, catalogue=stand_in_home[1], progress=steps.append)
    assert not (pack_folder(tmp_path, "clap") / FAST_MODEL).exists()
    assert [step for step in steps if "(models.quantise) did not end in" in step], steps


def test_nothing_half_made_belongs_to_the_pack(
    stand_in_home: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_writing(_: str, folder: str) -> str:
        (Path(folder) / FAST_MODEL).write_bytes(b"half a gra")
        raise Corrupt("killed")

    monkeypatch.setattr("models.pull.run_converter", die_writing)
    installed = pull("clap", tmp_path, source=stand_in_home[1].parent, catalogue=stand_in_home[1])
    assert sorted(path.name for path in installed.folder.iterdir()) == [
        PUBLISHED_MODEL,
        "manifest.json",
        "text_model_quantized.onnx",
        "tokenizer.json",
    ]
