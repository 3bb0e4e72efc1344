"""The model as MLflow serves it: one process, without Spark, from NumPy arrays.

MLflow runs this file when it loads the model. Nothing else imports it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.errors import ParameterError
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.serving_input import exclusions_of, require_kind, rows_of


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
        of the `k` best items, best first, and `is_cold_start`. This is true if the user had no
        rating in the fit; the list is then that of an unknown user.

        Raises SchemaError for missing columns, and for ids of another type than those of the fit.
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

    def _score(self, sent: pd.DataFrame) -> pd.DataFrame:
        rows = rows_of(sent, "user_id", "item_id")
        users, items = rows["user_id"].to_list(), rows["item_id"].to_list()
        require_kind(users, "user_id", self._model.user_ids)
        require_kind(items, "item_id", self._model.item_ids)
        scores = self._model.score(users, items)
        cold = ~(rows["user_id"].isin(self._users) & rows["item_id"].isin(self._items))
        return pd.DataFrame({"score": scores.astype("float64"), "is_cold_start": cold.to_numpy()})

    def _recommend(self, sent: pd.DataFrame, k: int) -> pd.DataFrame:
        rows = rows_of(sent, "user_id")
        if k < 1:
            raise ParameterError(f"k is {k}; it must be 1 or more.")
        users = rows["user_id"].to_list()
        require_kind(users, "user_id", self._model.user_ids)
        exclude = exclusions_of(rows, self._model.item_ids)
        lists = [
            self._model.recommend_items(user, k, exclude_seen=without)
            for user, without in zip(users, exclude, strict=True)
        ]
        return pd.DataFrame(
            {
                "item_id": [[item for item, _ in ranked] for ranked in lists],
                "score": [[score for _, score in ranked] for ranked in lists],
                "is_cold_start": [user not in self._users for user in users],
            }
        )


set_model(FactorPyfunc())
