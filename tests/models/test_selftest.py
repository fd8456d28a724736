"""A pack that is not what it should be is found out when a child starts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import Misconfigured
from models.child.analyse import Listener
from models.child.patches import Patch
from models.child.selftest import PackUnfit, check_outputs, make_probe
from models.pack import pack_folder
from models.process import ChildProcess

Break = Callable[[onnx.ModelProto], None]


def _rename_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "activations" else name for name in node.output]
    next(value for value in model.graph.output if value.name == "activations").name = "scores"


def _rename_input(model: onnx.ModelProto) -> None:
    old = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["x" if name == old else name for name in node.input]
    model.graph.input[0].name = "x"


def _ask_for_more(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mood", TensorProto.FLOAT, [1]))
    model.graph.node.append(helper.make_node("Identity", ["mood"], ["unused"]))
    model.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]))


def _change_weights(model: onnx.ModelProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim > 1:
            weight.CopyFrom(numpy_helper.from_array(change(values).astype(np.float32), weight.name))


def _poison(model: onnx.ModelProto) -> None:
    _change_weights(model, lambda values: values * np.float32(np.nan))


def _silence(model: onnx.ModelProto) -> None:
    _change_weights(model, np.zeros_like)


def _fewer_classes(model: onnx.ModelProto) -> None:
    """The last dense layer loses a class; the declared shapes with it."""
    for output in model.graph.output:
        if output.name == "activations":
            width = output.type.tensor_type.shape.dim[1].dim_value
            output.type.tensor_type.shape.dim[1].dim_value = width - 1
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if width in values.shape:
            axis = values.shape.index(width)
            weight.CopyFrom(numpy_helper.from_array(np.delete(values, 0, axis), weight.name))


BREAKS: list[tuple[Break, str]] = [
    (_rename_output, "does not give 'activations'"),
    (_rename_input, "asks for 'x'"),
    (_ask_for_more, "asks for 'mood'"),
    (_poison, "no numbers"),
    (_silence, "is the same for different inputs"),
    (_fewer_classes, "has the shape|cannot be opened"),
]
MODELS = [
    ("musicnn", "msd.onnx"),
    ("musicnn", "mtt.onnx"),
    ("effnet", "discogs-effnet-bsdynamic-1.onnx"),
]
HEADS = ["danceability-discogs-effnet-1.onnx", "mtg_jamendo_moodtheme-discogs-effnet-1.onnx"]


@pytest.fixture
def copy(stand_in_home: tuple[Path, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A pack to break."""
    return lambda pack: Path(shutil.copytree(pack_folder(stand_in_home[0], pack), tmp_path / pack))


@pytest.mark.parametrize(("pack", "file"), MODELS)
@pytest.mark.parametrize(("damage", "message"), BREAKS)
def test_what_is_wrong_is_named(copy: Callable[[str], Path], pack: str, file: str, damage: Break, message: str) -> None:
    path = copy(pack) / file
    model = onnx.load(path)
    damage(model)
    onnx.save(model, path)
    with pytest.raises(PackUnfit, match=message) as unfit:
        Listener({pack: path.parent})
    assert unfit.value.pack == pack


@pytest.mark.parametrize("file", HEADS)
@pytest.mark.parametrize(("damage", "message"), [*BREAKS, (None, "cannot be opened")])
def test_a_head_that_is_unfit_is_left_out(
    copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str], file: str, damage: Break | None, message: str
) -> None:
    path = copy("effnet") / file
    if damage is None:
        path.write_bytes(b"no model")
    else:
        model = onnx.load(path)
        damage(model)
        onnx.save(model, path)
    effnet = Listener({"effnet": path.parent}).effnet
    assert effnet is not None
    said = capsys.readouterr().err
    assert re.search(f"the head {file.removesuffix('-discogs-effnet-1.onnx')} is left out: .*({message})", said), said
    scores = effnet.tag([Patch(0, make_probe(128, 96))]).scores
    missing = np.isnan(scores["heads"]).all(axis=0).tolist()
    assert missing == [file.startswith("danceability")] + [False] * 6
    assert ("moodtheme" in scores) == file.startswith("danceability")


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000)])
def test_a_file_that_is_no_model(copy: Callable[[str], Path], content: bytes) -> None:
    folder = copy("effnet")
    (folder / "discogs-effnet-bsdynamic-1.onnx").write_bytes(content)
    with pytest.raises(PackUnfit, match=r"discogs-effnet-bsdynamic-1\.onnx cannot be opened"):
        Listener({"effnet": folder})


def test_what_differs_from_run_to_run() -> None:
    rng = np.random.default_rng()
    with pytest.raises(PackUnfit, match="not the same for the same input"):
        check_outputs("musicnn", lambda: {"x": rng.random((2, 3), np.float32)}, {"x": (2, 3)})
    check_outputs("musicnn", lambda: {"x": make_probe(2, 3)}, {"x": (2, 3)})


async def test_the_parent_is_told(copy: Callable[[str], Path]) -> None:
    folder = copy("effnet")
    path = folder / "discogs-effnet-bsdynamic-1.onnx"
    model = onnx.load(path)
    _poison(model)
    onnx.save(model, path)
    import sys

    child = ChildProcess(sys.executable, "listen", {"effnet": folder})
    with pytest.raises(Misconfigured, match=r"the pack 'effnet' fails its self-test .*earmark models pull effnet"):
        await child.start()
    assert child.pid is None
