"""A scoring model in a folder with its held-out rows, and its MLflow flavor."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from matchlake.errors import ModelError
from matchlake.model_store.held_out import HeldOut, column_types
from matchlake.model_store.scoring_model import ScoringModel

MODEL_FILE, HELD_OUT_FILE = "scoring_model.json", "held_out.json"
GRAPH_FILE = "model.onnx"
"""The model as an ONNX graph, features included."""
SCORING = "scoring"
"""The artifact folder of the model in an MLflow model."""

_NEEDS = ("mlflow", "numba", "numpy", "pandas", "pyarrow", "pydantic")


def save_scoring_model(model: ScoringModel, folder: Path, held_out: pd.DataFrame) -> None:
    """Writes a model and its held-out rows, which verify exports."""
    rows = HeldOut.of(model.features, held_out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HELD_OUT_FILE).write_text(rows.model_dump_json(), encoding="utf-8")
    (folder / MODEL_FILE).write_text(model.to_json(), encoding="utf-8")
    write_graph(model, folder)


def write_graph(model: ScoringModel, folder: Path) -> None:
    """Writes the ONNX graph beside the model, if the package onnx is installed.

    MLflow and `matchlake serve` score with the graph. Without a graph MLflow scores with NumPy.
    """
    if find_spec("onnx") is not None:
        (folder / GRAPH_FILE).write_bytes(model.to_onnx())


def load_scoring_model(folder: Path) -> ScoringModel:
    """Loads the model of a folder; raises ModelError if it is missing or damaged."""
    return ScoringModel.from_json(_read(folder / MODEL_FILE))


def load_held_out(folder: Path) -> HeldOut:
    """Loads the held-out rows of a folder; raises ModelError if they are missing."""
    return HeldOut.from_json(_read(folder / HELD_OUT_FILE))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ModelError(
            f"{path.parent} has no scoring model: {path.name} cannot be read. Train the model "
            "again, or name another version."
        ) from None


def scoring_flavor(folder: Path) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model` and `save_model` for the model in `folder`."""
    from mlflow.models import ModelSignature  # noqa: PLC0415 - seconds to import
    from mlflow.types.schema import AnyType, Array, ColSpec, Schema  # noqa: PLC0415

    model = load_scoring_model(folder)
    inputs = [
        ColSpec(_MLFLOW.get(kind) or AnyType(), name, required=False)
        for name, kind in column_types(model.features).items()
    ]
    outputs = [
        ColSpec(Array("double") if "<" in output.type else _OUTPUTS[output.type], output.name)
        for output in model.outputs()
    ]
    return {
        "python_model": str(Path(__file__).with_name("scoring_pyfunc.py")),
        "artifacts": {SCORING: str(folder)},
        "code_paths": [str(Path(__file__).parents[1])],
        "input_example": _example(model, load_held_out(folder)),
        "signature": ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
        "pip_requirements": [
            *(f"{name}=={version(name)}" for name in _needs(folder)),
            *map(_requirement, model.head.packages()),
        ],
        "metadata": {"matchlake_version": version("matchlake"), "task": model.task},
    }


def _needs(folder: Path) -> tuple[str, ...]:
    """Returns the packages that scoring needs; onnxruntime only for a folder with a graph."""
    has_runtime = find_spec("onnxruntime") is not None
    return (*_NEEDS, "onnxruntime") if has_runtime and (folder / GRAPH_FILE).is_file() else _NEEDS


def _requirement(name: str) -> str:
    """Returns the requirement with the installed version, or without a version if not installed."""
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return name


def _example(model: ScoringModel, held_out: HeldOut) -> pd.DataFrame:
    """Returns one row in types that MLflow can write as JSON."""
    row = pd.DataFrame(held_out.typed(model.features))[:1]
    for name, kind in column_types(model.features).items():
        if kind.startswith("decimal"):
            row[name] = row[name].astype("float64")
        elif kind == "date":
            row[name] = pd.to_datetime(row[name])
    return row


# Other types are Any: MLflow refuses null in columns of integers, booleans and lists.
_MLFLOW = {"string": "string", "date": "datetime", "float": "double", "double": "double"}
_OUTPUTS = {"DOUBLE": "double", "STRING": "string", "INT": "integer"}
