"""Fits networks of PyTorch, a user's or a small dense one, and exports them to ONNX."""

import copy
import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import ParameterError
from matchlake.formulas.heads import GraphHead, Head, Task
from matchlake.learners.networks import (
    NetworkRows,
    Singles,
    best_epoch,
    fit_network,
    graph_head,
    network_rows,
    user_network,
)
from matchlake.learners.params import TorchParams
from matchlake.learners.protocol import OnProgress, TrainingData

_log = logging.getLogger(__name__)

OPSET = 18
"""The oldest operators that torch's exporter writes itself."""
_ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "gelu": "GELU", "silu": "SiLU"}


def fit(
    data: TrainingData,
    params: TorchParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Fits a network in a separate process and returns its graph.

    Raises ParameterError without torch or the device, and InputError for rows that a network cannot
    use, and for a fit that fails.
    """
    del on_progress  # the fit runs in another process
    return fit_network(data, params, task, seed, ("torch", "onnxscript"))


def fit_here(data: TrainingData, given: dict[str, Any], seed: int) -> GraphHead:
    """Like `fit`, but in this process; `given` has the parameters and the task."""
    import torch  # noqa: PLC0415 - in an environment of its own

    task = given.pop("task")
    params = TorchParams.model_validate(given)
    device = _device(params.device)
    torch.manual_seed(seed)
    if params.function is not None:
        network = user_network(data, params, task, seed, device)
        if not isinstance(network, torch.nn.Module):
            raise ParameterError(
                f"{params.function} returned a value of type {type(network).__name__}; it must "
                "return a torch.nn.Module."
            )
    else:
        network = _fit_dense(network_rows(data, task, params, seed), params, device)
    network = network.to("cpu").eval()

    def score(rows: Singles) -> npt.NDArray[Any]:
        with torch.no_grad():
            found: npt.NDArray[Any] = network(torch.from_numpy(rows)).numpy()
        return found

    return graph_head(_onnx(network, len(data.columns)), data, task, score)


def _device(name: str) -> str:
    import torch  # noqa: PLC0415

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ParameterError("device is cuda, but torch finds no CUDA device. Use auto or cpu.")
    return "cuda" if has_cuda and name != "cpu" else "cpu"


def _onnx(network: Any, columns: int) -> Any:
    import torch  # noqa: PLC0415

    rows = torch.export.Dim("rows", min=1)
    program = torch.onnx.export(
        *(network, (torch.zeros(2, columns),)),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: rows},),
        input_names=["features"],
        output_names=["scores"],
        verbose=False,
    )
    return program.model_proto


def _fit_dense(rows: NetworkRows, params: TorchParams, device: str) -> Any:
    """Fits a dense network; returns the epoch with the smallest loss of the held-out rows."""
    import torch  # noqa: PLC0415

    body = _dense(rows, params).to(device)
    loss_of = _loss(rows)
    parts = (rows.matrix, rows.target, rows.held_out, rows.held_out_target)
    matrix, target, held_out, expected = (torch.from_numpy(each).to(device) for each in parts)
    optimizer = torch.optim.AdamW(
        body.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
    )
    losses: list[float] = []
    best: Any = None
    for epoch in range(params.epochs):
        body.train()
        for batch in torch.randperm(len(matrix)).to(device).split(params.batch_rows):
            optimizer.zero_grad()
            loss_of(body(matrix[batch]), target[batch]).backward()
            optimizer.step()
        body.eval()
        with torch.no_grad():
            losses.append(float(loss_of(body(held_out), expected)))
        is_best, is_end = best_epoch(losses, params.patience)
        _log.info("epoch %d: loss of the held-out rows %.6g", epoch + 1, losses[-1])
        if is_best:
            best = copy.deepcopy(body.state_dict())
        if is_end:
            break
    body.load_state_dict(best)
    return torch.nn.Sequential(body, _affine(rows.label_mean, rows.label_scale))


def _dense(rows: NetworkRows, params: TorchParams) -> Any:
    from torch import nn  # noqa: PLC0415

    layers: list[Any] = [_affine(-rows.mean / rows.scale, 1 / rows.scale)]
    width = rows.matrix.shape[1]
    for size in params.hidden:
        layers += [nn.Linear(width, size), getattr(nn, _ACTIVATIONS[params.activation])()]
        layers += [nn.Dropout(params.dropout)] if params.dropout else []
        width = size
    return nn.Sequential(*layers, nn.Linear(width, rows.outputs))


def _affine(shift: Any, factor: Any) -> Any:
    """The layer `shift + factor * x`, which is not fitted."""
    import torch  # noqa: PLC0415

    class Affine(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            for name, value in (("shift", shift), ("factor", factor)):
                self.register_buffer(name, torch.from_numpy(np.atleast_1d(np.float32(value))))

        def forward(self, given: Any) -> Any:
            return self.shift + self.factor * given

    return Affine()


def _loss(rows: NetworkRows) -> Any:
    """The loss of scores: log loss of classes, squared error of numbers."""
    from torch.nn import functional  # noqa: PLC0415

    if rows.target.dtype == np.float32:
        return lambda scores, target: functional.mse_loss(scores[:, 0], target)
    if rows.outputs == 1:
        return lambda scores, target: functional.binary_cross_entropy_with_logits(
            scores[:, 0], target.to(scores.dtype)
        )
    return functional.cross_entropy
