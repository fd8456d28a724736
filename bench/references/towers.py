"""Writes both towers of laion/clap-htsat-unfused, full-size, with random weights: the architecture without a download.

The weights are scaled so that activations keep a sensible spread from layer to layer, as trained ones do: what 8-bit
arithmetic loses can then be measured. The exporter is the TorchScript one, which the published files came from.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path

import onnx
import torch
from transformers import ClapAudioModelWithProjection, ClapConfig, ClapTextModelWithProjection

from bench.graphs.clap import BANDS, FRAMES, quantise_as_published

_OPSET = 14
_MEAN_DB, _SPREAD_DB = -40.0, 20.0  # what the first normalisation expects of a log-mel


def write_audio(folder: Path) -> None:
    """`audio_model.onnx` (fp32, 114 MB) and `audio_model_quantized.onnx`."""
    torch.manual_seed(48_000)
    tower = ClapAudioModelWithProjection._from_config(ClapConfig().audio_config, attn_implementation="eager").eval()
    _fill(tower)
    norm = tower.audio_model.audio_encoder.batch_norm
    norm.running_mean.fill_(_MEAN_DB)
    norm.running_var.fill_(_SPREAD_DB**2)
    _export(
        _Audio(tower),
        torch.zeros(2, 1, FRAMES, BANDS),
        "input_features",
        {0: "b"},
        "audio_embeds",
        folder / "audio_model.onnx",
    )
    _quantise(folder / "audio_model.onnx", folder / "audio_model_quantized.onnx")


def write_text(folder: Path) -> None:
    """`text_model_quantized.onnx`; the fp32 one (half a gigabyte) is not kept."""
    torch.manual_seed(77)
    tower = ClapTextModelWithProjection._from_config(ClapConfig().text_config, attn_implementation="eager").eval()
    _fill(tower)
    full = folder / "text_model.onnx"
    _export(_Text(tower), torch.full((2, 9), 5), "input_ids", {0: "b", 1: "t"}, "text_embeds", full)
    _quantise(full, folder / "text_model_quantized.onnx")
    full.unlink()


class _Audio(torch.nn.Module):
    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.tower(input_features=features, is_longer=None).audio_embeds


class _Text(torch.nn.Module):
    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        # All ones as the published graph has it, which takes nothing but ids: hence one prompt per call.
        return self.tower(input_ids=ids, attention_mask=torch.ones_like(ids)).text_embeds


@torch.no_grad()
def _fill(tower: torch.nn.Module) -> None:
    for name, weight in tower.named_parameters():
        if "norm" in name.lower():
            weight.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
        elif weight.ndim < 2 or "relative_position_bias" in name:
            weight.normal_(0.0, 0.1)
        elif "embeddings" in name:
            weight.normal_()
        else:
            weight.normal_(0.0, 1 / math.sqrt(weight[0].numel()))


def _export(
    module: torch.nn.Module, example: torch.Tensor, given: str, axes: dict[int, str], yields: str, path: Path
) -> None:
    with warnings.catch_warnings():  # about tracing, and about a newer exporter
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=[given],
            output_names=[yields],
            dynamic_axes={given: axes, yields: {0: "b"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    logging.disable(logging.WARNING)  # which tensors stay as they are, each with its shape
    quantised = quantise_as_published(onnx.load(source))
    target.write_bytes(quantised.SerializeToString(deterministic=True))
