"""Exports in Keras' own formats: only the network, from feature columns to scores.

A .keras file has the comparison as an additional entry of its ZIP. An HDF5 file has the comparison
after its end, where HDF5 readers ignore it.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from matchlake.errors import ModelError, ParameterError
from matchlake.formulas.heads import Folder, GraphHead, OpaqueHead
from matchlake.formulas.heads.folder import KERAS_FILE
from matchlake.formulas.heads.links import PREDICTION
from matchlake.io.keras_backend import import_keras
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.scoring_model import ScoringModel

KerasFormat = Literal["h5", "keras"]
TOLERANCE = 1e-5
"""The tolerance: Keras and onnxruntime compute in 32 bits, in different orders."""
_ENTRY = "matchlake.verified.json"
_MARK = b"matchlake.verified"
_SIZE = 8
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def keras_content(model: ScoringModel, kind: KerasFormat) -> bytes:
    """Returns the file without a comparison; raises ParameterError for other frameworks."""
    with _source(model).unpacked() as folder:
        if kind == "keras":
            return _split_zip(folder / KERAS_FILE)[0]
        keras = import_keras()
        loaded = keras.models.load_model(folder / KERAS_FILE, compile=False, safe_mode=True)
        path = folder / "model.h5"
        loaded.save(path)
        return path.read_bytes()


def keras_comparison(
    model: ScoringModel, held_out: HeldOut
) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """Returns the feature columns of the held-out rows, and their scores as lists.

    Rows with a missing feature are left out, because the network does not accept missing values.
    """
    columns = held_out.typed(model.features)
    matrix = np.atleast_2d(model.features.transform_numpy(columns))
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    if not len(matrix):
        raise ModelError("Each held-out row has a missing feature, so no row can verify a network.")
    scores = model.head.scores(matrix)
    inputs = dict(zip(model.head.columns, map(tuple, matrix.T.tolist()), strict=True))
    return inputs, {PREDICTION: tuple(scores.tolist())}


def with_comparison(content: bytes, kind: KerasFormat, comparison: str) -> bytes:
    """Adds the JSON `comparison` to the file `content`."""
    text = comparison.encode()
    if kind == "h5":
        return content + text + len(text).to_bytes(_SIZE, "big") + _MARK
    made = io.BytesIO(content)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_ENTRY, _LONG_AGO), text)
    return made.getvalue()


def split_comparison(path: Path, kind: KerasFormat) -> tuple[bytes, str | None]:
    """Returns the file without its comparison, and the comparison or None."""
    return _split_h5(path.read_bytes()) if kind == "h5" else _split_zip(path)


def _split_h5(content: bytes) -> tuple[bytes, str | None]:
    if not content.endswith(_MARK):
        return content, None
    end = len(content) - len(_MARK) - _SIZE
    size = int.from_bytes(content[end : end + _SIZE], "big")
    if size > end:
        return content, None
    return content[: end - size], content[end - size : end].decode("utf-8", "replace")


def _split_zip(path: Path) -> tuple[bytes, str | None]:
    """Returns the other entries as a new ZIP without times, and the comparison."""
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w") as bare:
            files = {name: archive.read(name) for name in archive.namelist()}
            found = files.pop(_ENTRY, None)
            for name, content in files.items():
                bare.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)
    except (zipfile.BadZipFile, OSError, ValueError):
        raise ModelError(f"{path} is not a file of Keras, or it is damaged.") from None
    return made.getvalue(), None if found is None else found.decode("utf-8", "replace")


def keras_scores(
    content: bytes, kind: KerasFormat, inputs: Mapping[str, Any]
) -> Callable[[], dict[str, Any]]:
    """Returns a function that scores the feature columns with the file."""

    def score() -> dict[str, Any]:
        keras = import_keras()
        matrix = np.column_stack([np.array(each, np.float32) for each in inputs.values()])
        with tempfile.TemporaryDirectory(prefix="matchlake-keras-") as place:
            path = Path(place) / f"model.{kind}"
            path.write_bytes(content)
            try:
                network = keras.models.load_model(path, compile=False, safe_mode=True)
                found: npt.NDArray[Any] = np.asarray(network(matrix, training=False), np.float64)
            except Exception as error:  # noqa: BLE001 - Keras raises errors of several kinds
                reason = str(error).strip().partition("\n")[0]
                raise ModelError(f"Keras cannot score this file: {reason}") from None
        return {PREDICTION: tuple(found.reshape(len(matrix), -1).tolist())}

    return score


def _source(model: ScoringModel) -> Folder:
    head = model.head
    folder = head.source if isinstance(head, GraphHead) else None
    folder = head.folder if isinstance(head, OpaqueHead) else folder
    if folder is None or folder.flavor != "keras":
        raise ParameterError(
            f"Model {model.name} is not a network of Keras, so it has no file in Keras' formats. "
            "Choose onnx, json or folder."
        )
    return folder
