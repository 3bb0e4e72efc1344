"""Functions that a user could name for the trainers torch and keras."""

# ruff: noqa: ARG001, PLC0415 - functions of one signature; frameworks that are not always there

from typing import Any

import numpy as np

from matchlake.learners.protocol import TrainingData


def torch_linear(data: TrainingData, params: dict[str, Any], seed: int, device: str) -> Any:
    """The sum of the features times a weight."""
    return _torch(data, params["weight"], 1)


def torch_wide(data: TrainingData, params: dict[str, Any], seed: int, device: str) -> Any:
    """Two scores, where a regression has one."""
    return _torch(data, 1.0, 2)


def _torch(data: TrainingData, weight: float, outputs: int) -> Any:
    import torch

    network = torch.nn.Linear(len(data.columns), outputs, bias=False)
    torch.nn.init.constant_(network.weight, weight)
    return network


def keras_linear(data: TrainingData, params: dict[str, Any], seed: int, device: Any) -> Any:
    """The sum of the features times a weight."""
    return _keras(data, params["weight"], 1)


def keras_wide(data: TrainingData, params: dict[str, Any], seed: int, device: Any) -> Any:
    """Two scores, where a regression has one."""
    return _keras(data, 1.0, 2)


def _keras(data: TrainingData, weight: float, outputs: int) -> Any:
    import keras

    network = keras.Sequential(
        [keras.Input((len(data.columns),)), keras.layers.Dense(outputs, use_bias=False)]
    )
    network.set_weights([np.full((len(data.columns), outputs), weight, np.float32)])
    return network


def nonsense(data: TrainingData, params: dict[str, Any], seed: int, device: Any) -> dict[str, int]:
    """Returns no network."""
    return {"weights": 1}
