"""The model as MLflow serves it: one process, without Spark, from NumPy arrays.

MLflow runs this file when it loads the model. Nothing else imports it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.errors import ParameterError, SchemaError
from matchlake.model_store.numpy import load_numpy


class FactorPyfunc(PythonModel):  # type: ignore[misc]
    """Scores pairs, or recommends items: one output row per input row, in order."""

    def load_context(self, context: Any) -> None:
        """Reads the files that were logged with the model."""
        self._model = load_numpy(Path(context.artifacts["factors"]))
        self._users, self._items = self._model.trained_ids

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Scores or recommends, by the `mode` of `params`.

        `score` (the default) reads `user_id`, `item_id` and returns `score` and `is_cold_start`
        (true if either had no rating in the fit). `recommend_items` reads `user_id` and,
        optionally, `exclude_seen`, a list of item ids. It returns the lists `item_id` and `score`
        of the `k` best items, best first.
        """
        del context
        chosen: dict[str, Any] = {"mode": "score", "k": 10} | (params or {})
        if chosen["mode"] == "score":
            return self._score(model_input)
        if chosen["mode"] == "recommend_items":
            return self._recommend(model_input, int(chosen["k"]))
        raise ParameterError(
            f"mode is {chosen['mode']!r}; it must be 'score' or 'recommend_items'."
        )

    def _score(self, rows: pd.DataFrame) -> pd.DataFrame:
        _require(rows, "user_id", "item_id")
        scores = self._model.score(rows["user_id"].to_list(), rows["item_id"].to_list())
        cold = ~(rows["user_id"].isin(self._users) & rows["item_id"].isin(self._items))
        return pd.DataFrame({"score": scores.astype("float64"), "is_cold_start": cold.to_numpy()})

    def _recommend(self, rows: pd.DataFrame, k: int) -> pd.DataFrame:
        _require(rows, "user_id")
        if k < 1:
            raise ParameterError(f"k is {k}; it must be 1 or more.")
        exclude = rows["exclude_seen"] if "exclude_seen" in rows else [None] * len(rows)
        lists = [
            self._model.recommend_items(user, k, exclude_seen=() if without is None else without)
            for user, without in zip(rows["user_id"], exclude, strict=True)
        ]
        return pd.DataFrame(
            {
                "item_id": [[item for item, _ in ranked] for ranked in lists],
                "score": [[score for _, score in ranked] for ranked in lists],
            }
        )


def _require(rows: pd.DataFrame, *names: str) -> None:
    missing = [name for name in names if name not in rows]
    if missing:
        raise SchemaError.missing("the input", missing, map(str, rows.columns))


set_model(FactorPyfunc())
