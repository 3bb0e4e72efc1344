"""Makes an MLflow model of a saved model; it serves without this project installed.

The MLflow model has the model's files and a copy of this package (`code_paths`), since serving
machines cannot install matchlake. Its requirements are explicit, so logging does not infer them and
needs no network. The model is a script (`mlflow_serving.py`) instead of a pickle, so it loads in
any Python version.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from matchlake.errors import ModelError
from matchlake.model_store.manifest import Side, read_manifest

FACTORS = "factors"
"""The artifact folder of the served model."""

EVALUATED = "evaluated"
"""The artifact folder of the evaluated model, which was fitted without the test part."""

_NEEDS = ("mlflow", "numba", "numpy", "pandas", "pyarrow", "pydantic")


def pyfunc_flavor(folder: Path) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model` for the model saved in `folder / FACTORS`.

    All other files of `folder` are logged, too.
    """
    example = _example(folder / FACTORS)
    rates = read_manifest(folder / FACTORS).typed_params().predicts_ratings
    return {
        "python_model": str(Path(__file__).with_name("mlflow_serving.py")),
        "artifacts": {path.name: str(path) for path in sorted(folder.iterdir())},
        "code_paths": [str(Path(__file__).parents[1])],
        "signature": _signature(example, rates=rates),
        "input_example": example if rates else example[["user_id"]],
        "pip_requirements": [f"{name}=={version(name)}" for name in _NEEDS],
        "metadata": {"matchlake_version": version("matchlake")},
    }


def _signature(example: pd.DataFrame, *, rates: bool) -> Any:
    """Returns the inputs and outputs: scores, or recommendation lists without predicted ratings."""
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types.schema import (  # noqa: PLC0415
        AnyType,
        Array,
        ColSpec,
        ParamSchema,
        ParamSpec,
        Schema,
    )

    user, item = ("long" if kind == "int64" else "string" for kind in example.dtypes)
    cold = ColSpec("boolean", "is_cold_start")
    scores = [ColSpec("double", "score"), cold]
    lists = [ColSpec(Array(item), "item_id"), ColSpec(Array("double"), "score"), cold]
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(user, "user_id"),
                ColSpec(item, "item_id", required=False),
                # The type is Any, because MLflow's Array refuses null, and reads columns of lists
                # as one row.
                ColSpec(AnyType(), "exclude_seen", required=False),
            ]
        ),
        outputs=Schema(scores if rates else lists),
        params=ParamSchema(
            [
                ParamSpec("mode", "string", "score" if rates else "recommend_items"),
                ParamSpec("k", "long", 10),
                ParamSpec("exclude_trained", "boolean", default=True),
            ]
        ),
    )


def _example(folder: Path) -> pd.DataFrame:
    """Returns one user-item pair of the model, in the types that callers must use."""
    return pd.DataFrame(
        {"user_id": _first_id(folder, "user"), "item_id": _first_id(folder, "item")}
    )


def _first_id(folder: Path, side: Side) -> pd.Series:
    name = f"{side}_id"
    for path in read_manifest(folder).paths(folder, side):
        for batch in pq.ParquetFile(path).iter_batches(1, columns=[name]):
            value = batch.column(0)[0].as_py()
            return pd.Series([value], dtype="int64" if isinstance(value, int) else object)
    raise ModelError(f"{folder} has no {side}s: cannot log an empty model.")
