"""ONNX models of several shapes give what NumPy gives; others are refused with the reason."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.support.backbones import Dimension, flattened, imagenet, pooled, pooled_oracle

from matchlake.errors import ConfigError, MatchlakeError, ModelError
from matchlake.ingest.images.backbone import (
    Backbone,
    BackboneSpec,
    dimensions,
    model_hash,
    open_backbone,
)
from matchlake.ingest.images.params import Preprocessing


def backbone(path: Path, output: str | None = None, device: str = "cpu", **steps: Any) -> Backbone:
    spec = BackboneSpec(
        str(path), model_hash(str(path)), output, device, Preprocessing(**steps), 16
    )
    return open_backbone(spec)


def images(count: int, side: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize(
    ("side", "batch"), [("side", "images"), (16, "images"), (16, 1), (16, 4), (None, None)]
)
def test_embed_equals_numpy(
    tmp_path: Path, *, channels_first: bool, side: Dimension, batch: Dimension
) -> None:
    path = tmp_path / "pooled.onnx"
    matrix = pooled(path, side=side, batch=batch, channels_first=channels_first)
    model = backbone(path, crop=16)
    pixels = images(7, 16)
    expected = [pooled_oracle(each, matrix) for each in pixels]
    assert np.allclose(model.embed(pixels), expected, rtol=0, atol=1e-5)
    assert (dimensions(model), model.device) == (4, "cpu")


def test_embed_keeps_rows_columns_and_colours_in_place(tmp_path: Path) -> None:
    matrix = flattened(tmp_path / "flat.onnx", 8)
    pixels = images(3, 8)
    expected = imagenet(pixels).transpose(0, 3, 1, 2).reshape(3, -1) @ matrix.astype(float)
    model = backbone(tmp_path / "flat.onnx")
    assert model.side == 8
    assert np.allclose(model.embed(pixels), expected, rtol=0, atol=1e-5)


def test_embed_another_output_with_axes_of_length_one(tmp_path: Path) -> None:
    pooled(tmp_path / "m.onnx")
    model = backbone(tmp_path / "m.onnx", "pooled")
    assert model.side == 224
    pixels = images(2, 224)
    expected = imagenet(pixels).mean(axis=(1, 2))
    assert np.allclose(model.embed(pixels), expected, rtol=0, atol=1e-5)


def test_open_backbone_opens_a_model_once(tmp_path: Path) -> None:
    pooled(tmp_path / "m.onnx")
    assert backbone(tmp_path / "m.onnx") is backbone(tmp_path / "m.onnx")


def test_open_backbone_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    pooled(path)
    before = model_hash(str(path))
    pooled(path, seed=1)
    spec = BackboneSpec(str(path), before, None, "cpu", Preprocessing(), 16)
    with pytest.raises(ModelError, match="has changed since the job began"):
        open_backbone(spec)


@pytest.mark.parametrize(
    ("model", "output", "steps", "error", "told"),
    [
        ({}, "none", {}, ConfigError, "has no output none; its outputs are vectors, maps, pooled"),
        (
            {},
            "maps",
            {},
            ModelError,
            "[2, 3, 224, 224] for 2 image(s): it is not one vector per image",
        ),
        ({"side": 16}, None, {"crop": 32}, ConfigError, "crop is 32, but the model takes 16"),
        (
            {},
            None,
            {"crop": 32, "resize": 20},
            ConfigError,
            "resize 20 is less than the crop size 32",
        ),
    ],
)
def test_open_backbone_refuses(
    tmp_path: Path,
    model: dict[str, Any],
    output: str | None,
    steps: dict[str, int],
    error: type[MatchlakeError],
    told: str,
) -> None:
    pooled(tmp_path / "m.onnx", **model)
    with pytest.raises(error, match=re.escape(told)):
        dimensions(backbone(tmp_path / "m.onnx", output, **steps))


def test_open_backbone_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"m\.onnx cannot be read: No such file"):
        backbone(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="is not a usable ONNX model"):
        backbone(tmp_path / "m.onnx")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_open_backbone_without_a_gpu_runs_on_the_cpu(tmp_path: Path, device: str) -> None:
    pooled(tmp_path / "m.onnx")
    assert backbone(tmp_path / "m.onnx", device=device).device == "cpu"


@pytest.mark.parametrize(
    ("device", "asked"),
    [("auto", ["CUDAExecutionProvider", "CPUExecutionProvider"]), ("cpu", None)],
)
def test_open_backbone_asks_for_the_gpu_that_onnxruntime_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, asked: list[str] | None
) -> None:
    pooled(tmp_path / "m.onnx", seed=9)
    real, given = onnxruntime.InferenceSession, []

    def session(data: bytes, options: Any, providers: list[str]) -> Any:
        given.extend(providers)
        return real(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    assert backbone(tmp_path / "m.onnx", device=device).device == "cpu"
    assert given == (asked or ["CPUExecutionProvider"])
