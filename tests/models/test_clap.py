"""Both CLAP towers on small graphs with the published names and shapes."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.graphs.clap import build_audio, build_text, build_tokenizer
from core.errors import TooShort
from models.child.clap import BUDGET, FAST_MODEL, PUBLISHED_MODEL, ClapAudio, ClapText, Embedding
from models.child.clap_mel import WINDOW, LogMel, Samples, fill_window, log_mel
from models.child.selftest import PackUnfit
from models.child.tokens import LIMIT, Tokens

TEXT_MODEL = "text_model_quantized.onnx"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "clap"
    folder.mkdir()
    build_audio(folder / PUBLISHED_MODEL, 1)
    build_text(folder / TEXT_MODEL, 1)
    build_tokenizer(folder / "tokenizer.json")
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(built, tmp_path / "clap"))


@pytest.fixture(scope="module")
def audio(built: Path) -> ClapAudio:
    return ClapAudio(built)


@pytest.fixture(scope="module")
def text(built: Path) -> ClapText:
    return ClapText(built)


def _sound(seconds: float, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 48_000))
    return (noise * 10 ** -(1 + seed % 3) * (1 + np.sin(np.arange(len(noise)) / (9000 + 7000 * seed)))).astype(
        np.float32
    )


def _listen(audio: ClapAudio, *blocks: Samples) -> Embedding:
    listener = audio.listen()
    for block in blocks:
        listener.feed(block)
    return listener.finish()


def _edit(path: Path, change: Callable[[onnx.GraphProto], None]) -> None:
    model = onnx.load(path)
    change(model.graph)
    path.write_bytes(model.SerializeToString())


# --- audio ------------------------------------------------------------------------------------------------------


def test_windows_are_averaged_raw_and_a_trailing_part_is_dropped(audio: ClapAudio) -> None:
    sound = _sound(25)
    windows = [audio.embed(log_mel(sound[at : at + WINDOW])) for at in (0, WINDOW)]
    heard = _listen(audio, sound)
    assert heard.shape == (512,)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, np.mean(windows, axis=0), rtol=1e-6)
    assert not np.isclose(np.linalg.norm(heard), 1, rtol=0.1)
    np.testing.assert_array_equal(heard, _listen(audio, sound[: 2 * WINDOW]))


def test_the_pieces_that_samples_come_in_change_nothing(audio: ClapAudio) -> None:
    sound = _sound(21)
    cuts = [0, 0, 1, 479_999, 480_001, 700_000, len(sound)]
    pieces = [sound[start:end] for start, end in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(_listen(audio, *pieces), _listen(audio, sound))


def test_one_track_leaves_nothing_to_the_next(audio: ClapAudio) -> None:
    first = _listen(audio, _sound(11))
    assert not np.array_equal(_listen(audio, _sound(12, seed=1)), first)
    np.testing.assert_array_equal(_listen(audio, _sound(11)), first)


def test_a_short_sound_is_repeated(audio: ClapAudio) -> None:
    sound = _sound(3)
    np.testing.assert_array_equal(_listen(audio, sound), audio.embed(log_mel(fill_window(sound))))


def test_without_a_sample_it_is_too_short(audio: ClapAudio) -> None:
    with pytest.raises(TooShort):
        _listen(audio, np.empty(0, np.float32))


def test_a_long_track_is_heard_in_evenly_spaced_windows(built: Path) -> None:
    heard: list[int] = []

    class Recording(ClapAudio):
        def embed(self, window: LogMel) -> Embedding:
            heard.append(round(float(window.mean())))
            return super().embed(window)

    listener = Recording(built).listen()
    hiss = _sound(10, seed=3)
    hiss /= np.sqrt(np.mean(hiss**2))
    for number in range(70):
        listener.feed(hiss * np.float32(10 ** ((number - 60) / 20)))  # 1 dB louder each time
    held = len(listener._windows.kept)
    assert np.isfinite(listener.finish()).all()
    numbers = [level - heard[0] for level in heard]
    assert len(numbers) == BUDGET <= held <= 2 * BUDGET
    steps = np.diff(numbers)
    assert numbers[-1] >= 66
    assert 2 <= steps.min() <= steps.max() <= 4


def test_the_fast_graph_is_taken_where_there_is_one(folder: Path) -> None:
    build_audio(folder / FAST_MODEL, 2)
    window = log_mel(_sound(10))
    fast = ClapAudio(folder).embed(window)
    (folder / FAST_MODEL).unlink()
    assert not np.allclose(ClapAudio(folder).embed(window), fast, rtol=1e-2)


def test_a_tower_that_asks_whether_a_clip_is_longer_is_told(folder: Path, audio: ClapAudio) -> None:
    def ask(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("is_longer", TensorProto.BOOL, ["b", 1]))
        embedding = graph.output[0].name
        last = next(node for node in graph.node if embedding in node.output)
        last.output[0] = "short"
        graph.initializer.append(numpy_helper.from_array(np.float32(0), "longer"))
        graph.node.append(helper.make_node("Where", ["is_longer", "longer", "short"], [embedding]))

    _edit(folder / PUBLISHED_MODEL, ask)
    asking, window = ClapAudio(folder), log_mel(_sound(10))
    asking.self_test()
    np.testing.assert_array_equal(asking.embed(window), audio.embed(window))


# --- text -------------------------------------------------------------------------------------------------------


def test_rows_have_length_one_and_do_not_depend_on_their_company(text: ClapText) -> None:
    prompts = ["dark ambient techno", "solo piano", "dark ambient techno", "a much longer prompt about drums and bass"]
    rows = text.embed(prompts)
    assert rows.shape == (4, 512)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert rows[0] @ rows[1] < 0.99
    for prompt, row in zip(prompts, rows, strict=True):
        np.testing.assert_array_equal(text.embed([prompt])[0], row)


def test_no_texts_are_no_rows(text: ClapText) -> None:
    assert text.embed([]).shape == (0, 512)


@pytest.mark.parametrize(
    "odd",
    ["", " ", "\0", "\ud800", "日本の音楽 🎵", "a\u0301" * 400, "<s></s><pad><mask>", "x" * 1_000_000, "la " * 300_000],
)
def test_any_text_has_an_embedding(text: ClapText, built: Path, odd: str) -> None:
    ids = Tokens(built / "tokenizer.json").encode(odd)
    assert ids.dtype == np.int64
    assert 2 <= ids.shape[1] <= LIMIT
    assert (ids[0, 0], ids[0, -1]) == (0, 2)
    assert np.isfinite(text.embed([odd])).all()


def test_a_text_counts_up_to_its_77th_token(text: ClapText) -> None:
    long = "techno music " * 60
    np.testing.assert_array_equal(text.embed([long]), text.embed([long + "with a sad piano"]))


def test_a_tower_that_asks_for_a_mask_gets_ones(folder: Path, text: ClapText) -> None:
    def ask(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "t"]))
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == "input_ids":
                    node.input[place] = "masked_ids"
        graph.node.insert(0, helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked_ids"]))

    _edit(folder / TEXT_MODEL, ask)
    asking = ClapText(folder)
    asking.self_test()
    np.testing.assert_array_equal(asking.embed(["sad piano"]), text.embed(["sad piano"]))


# --- the self-test ------------------------------------------------------------------------------------------------


def test_good_towers_pass(audio: ClapAudio, text: ClapText) -> None:
    audio.self_test()
    text.self_test()


def test_a_collapsed_text_tower_is_caught(folder: Path) -> None:
    build_text(folder / TEXT_MODEL, 1, collapsed=True)
    with pytest.raises(PackUnfit, match="collapsed"):
        ClapText(folder).self_test()


def _rename_input(graph: onnx.GraphProto) -> None:
    old = graph.input[0].name
    graph.input[0].name = "something_else"
    for node in graph.node:
        node.input[:] = ["something_else" if name == old else name for name in node.input]


def _rename_output(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if graph.output[0].name in node.output).output[0] = "something_else"
    graph.output[0].name = "something_else"


def _append(graph: onnx.GraphProto, kind: str, operand: NDArray[np.float32], width: int = 512) -> None:
    output = graph.output[0]
    next(node for node in graph.node if output.name in node.output).output[0] = "before"
    graph.initializer.append(numpy_helper.from_array(operand, "operand"))
    graph.node.append(helper.make_node(kind, ["before", "operand"], [output.name]))
    output.type.tensor_type.shape.dim[1].dim_value = width


def _say_nan(graph: onnx.GraphProto) -> None:
    _append(graph, "Add", np.array([np.nan] + [0] * 511, np.float32))


def _say_one_thing(graph: onnx.GraphProto) -> None:
    _append(graph, "Mul", np.zeros(512, np.float32))


def _narrow(graph: onnx.GraphProto) -> None:
    _append(graph, "MatMul", np.ones((512, 256), np.float32), width=256)


def _say_noise(graph: onnx.GraphProto) -> None:
    _append(graph, "Add", np.zeros(512, np.float32))
    graph.node[-1].input[1] = "noise"
    graph.node.insert(0, helper.make_node("RandomNormal", [], ["noise"], shape=[1, 512]))


BREAKAGES = [
    pytest.param(_rename_input, "something_else", id="input"),
    pytest.param(_rename_output, "something_else", id="output"),
    pytest.param(_narrow, "256", id="shape"),
    pytest.param(_say_nan, "no numbers", id="nan"),
    pytest.param(_say_one_thing, "same for different", id="constant"),
    pytest.param(_say_noise, "not the same", id="random"),
]


@pytest.mark.parametrize(("change", "message"), BREAKAGES)
def test_a_wrong_audio_tower_is_caught(folder: Path, change: Callable[[onnx.GraphProto], None], message: str) -> None:
    _edit(folder / PUBLISHED_MODEL, change)
    with pytest.raises(PackUnfit, match=message) as caught:
        ClapAudio(folder).self_test()
    assert caught.value.pack == "clap"


@pytest.mark.parametrize(("change", "message"), BREAKAGES)
def test_a_wrong_text_tower_is_caught(folder: Path, change: Callable[[onnx.GraphProto], None], message: str) -> None:
    _edit(folder / TEXT_MODEL, change)
    with pytest.raises(PackUnfit, match=message):
        ClapText(folder).self_test()


def test_another_models_mel_is_caught(folder: Path) -> None:
    def narrow(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1000

    _edit(folder / PUBLISHED_MODEL, narrow)
    with pytest.raises(PackUnfit):
        ClapAudio(folder).self_test()


@pytest.mark.parametrize("content", [None, b"", b"not a graph" * 100])
def test_a_graph_that_is_none_is_caught(folder: Path, content: bytes | None) -> None:
    for name in (PUBLISHED_MODEL, TEXT_MODEL):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises(PackUnfit, match=PUBLISHED_MODEL):
        ClapAudio(folder)
    with pytest.raises(PackUnfit, match=TEXT_MODEL):
        ClapText(folder)


def test_another_tokenizer_is_caught(folder: Path) -> None:
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    del described["post_processor"]
    path.write_text(json.dumps(described))
    with pytest.raises(PackUnfit, match="layout"):
        ClapText(folder)
    path.write_text("{}")
    with pytest.raises(PackUnfit, match="cannot be read"):
        ClapText(folder)
    path.unlink()
    with pytest.raises(PackUnfit, match="cannot be read"):
        ClapText(folder)


def test_more_tokens_than_the_tower_knows_are_caught(folder: Path) -> None:
    """The tokenizer of another model would ask for rows that the embedding does not have."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    described["model"]["vocab"] = {
        token: number if number < 5 else number + 40_000 for token, number in described["model"]["vocab"].items()
    }
    path.write_text(json.dumps(described))
    with pytest.raises(PackUnfit, match="does not run"):
        ClapText(folder).self_test()
