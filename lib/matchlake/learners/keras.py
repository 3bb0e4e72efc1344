"""Fits networks of Keras on JAX, a user's or a small dense one, and exports them to ONNX."""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import ParameterError
from matchlake.formulas.heads import Folder, GraphHead, Head, Task
from matchlake.formulas.heads.folder import KERAS_FILE
from matchlake.learners.networks import (
    NetworkRows,
    Singles,
    best_epoch,
    fit_network,
    graph_head,
    network_rows,
    user_network,
)
from matchlake.learners.params import KerasParams
from matchlake.learners.protocol import OnProgress, TrainingData

OPSET = 21
_SHARED = "shared_object_id"


def fit(
    data: TrainingData,
    params: KerasParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Fits a network in a separate process and returns its graph.

    Raises ParameterError without Keras, JAX or the device, and InputError for rows that a network
    cannot use, and for a fit that fails.
    """
    del on_progress  # the fit runs in another process
    return fit_network(data, params, task, seed, ("keras", "jax", "jax2onnx", "h5py"))


def fit_here(data: TrainingData, given: dict[str, Any], seed: int) -> GraphHead:
    """Like `fit`, but in this process; `given` has the parameters and the task."""
    import jax  # noqa: PLC0415 - in an environment of its own
    import keras  # noqa: PLC0415

    task = given.pop("task")
    params = KerasParams.model_validate(given)
    if keras.backend.backend() != "jax":
        raise ParameterError(
            f"Keras runs on {keras.backend.backend()}; this trainer needs JAX. Set KERAS_BACKEND "
            "to jax, or remove it."
        )
    keras.utils.set_random_seed(seed)
    device = _device(params.device)
    with jax.default_device(device):
        if params.function is not None:
            network = user_network(data, params, task, seed, device)
        else:
            network = _fit_dense(network_rows(data, task, params, seed), params)
    if not isinstance(network, keras.Model):
        raise ParameterError(
            f"{params.function} returned a value of type {type(network).__name__}; it must return "
            "a keras.Model."
        )

    def score(rows: Singles) -> npt.NDArray[Any]:
        return np.asarray(network(rows, training=False))

    graph = _onnx(network, len(data.columns))
    return graph_head(graph, data, task, score, _source(network))


def _device(name: str) -> Any:
    import jax  # noqa: PLC0415

    has_cuda = jax.default_backend() == "gpu"
    if name == "cuda" and not has_cuda:
        raise ParameterError("device is cuda, but JAX finds no CUDA device. Use auto or cpu.")
    return jax.devices("gpu" if has_cuda and name != "cpu" else "cpu")[0]


def _onnx(network: Any, columns: int) -> Any:
    from jax2onnx import to_onnx  # noqa: PLC0415

    def score(rows: Any) -> Any:
        return network(rows, training=False)

    return to_onnx(
        score, [("rows", columns)], model_name="network", enable_double_precision=False, opset=OPSET
    )


def _source(network: Any) -> Folder:
    """Returns the file model.keras. Its bits depend neither on the time nor on memory addresses."""
    with tempfile.TemporaryDirectory(prefix="matchlake-keras-") as place:
        path = Path(place) / KERAS_FILE
        network.save(path)
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        metadata = json.loads(files["metadata.json"])
        metadata.pop("date_saved", None)
        files["metadata.json"] = json.dumps(metadata).encode()
        files["config.json"] = _numbered(files["config.json"])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name), content)
        path.write_bytes(packed.getvalue())
        return Folder.of(Path(place), "keras")


def _numbered(config: bytes) -> bytes:
    """Returns the configuration with shared objects numbered 0, 1 and so on.

    Keras names them by their memory addresses.
    """
    numbers: dict[int, int] = {}

    def number(found: dict[str, Any]) -> dict[str, Any]:
        if _SHARED in found:
            found[_SHARED] = numbers.setdefault(found[_SHARED], len(numbers))
        return found

    return json.dumps(json.loads(config, object_hook=number)).encode()


def _fit_dense(rows: NetworkRows, params: KerasParams) -> Any:
    """Fits a dense network; returns the epoch with the smallest loss of the held-out rows."""
    import keras  # noqa: PLC0415

    network = _dense(rows, params)
    optimizer = keras.optimizers.AdamW(params.learning_rate, weight_decay=params.weight_decay)
    network.compile(optimizer, _loss(rows))
    losses: list[float] = []
    best: Any = None
    for _ in range(params.epochs):
        network.fit(*(rows.matrix, rows.target), batch_size=params.batch_rows, epochs=1, verbose=0)
        losses.append(float(network.evaluate(rows.held_out, rows.held_out_target, verbose=0)))
        is_best, is_end = best_epoch(losses, params.patience)
        if is_best:
            best = network.get_weights()
        if is_end:
            break
    network.set_weights(best)
    if rows.target.dtype != np.float32:
        return network
    scaled = keras.layers.Rescaling(rows.label_scale, rows.label_mean)(network.output)
    return keras.Model(network.input, scaled)


def _dense(rows: NetworkRows, params: KerasParams) -> Any:
    import keras  # noqa: PLC0415

    given = keras.Input((rows.matrix.shape[1],))
    found = keras.layers.Normalization(mean=rows.mean, variance=rows.scale.astype("float64") ** 2)(
        given
    )
    for size in params.hidden:
        found = keras.layers.Dense(size, activation=params.activation)(found)
        if params.dropout:
            found = keras.layers.Dropout(params.dropout)(found)
    return keras.Model(given, keras.layers.Dense(rows.outputs)(found))


def _loss(rows: NetworkRows) -> Any:
    """The loss of scores: log loss of classes, squared error of numbers."""
    from keras import losses  # noqa: PLC0415

    if rows.target.dtype == np.float32:
        return losses.MeanSquaredError()
    if rows.outputs == 1:
        return losses.BinaryCrossentropy(from_logits=True)
    return losses.SparseCategoricalCrossentropy(from_logits=True)
