"""The MLflow flavor of a recommender: serves in one process from NumPy arrays, without Spark.

MLflow runs this file when it loads the model. No other module imports it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.engine.csr import Ints
from matchlake.engine.top_k import lists_of, require_k
from matchlake.errors import InputError, ParameterError
from matchlake.model_store.manifest import read_manifest
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.seen_items import load_seen_items
from matchlake.model_store.serving_input import exclusions_of, ids_of, rows_of
from matchlake.recommender.numpy_answers import Choice
from matchlake.recommender.sides import ITEM, USER

_CHUNK = 1024
"""The number of users whose recommendation lists are computed together."""

SCORE, RECOMMEND = "score", "recommend_items"
DEFAULTS: dict[str, Any] = {"k": 10, "exclude_trained": True}


class FactorPyfunc(PythonModel):  # type: ignore[misc]
    """Scores pairs or recommends items; returns one row per input row, in the same order."""

    def load_context(self, context: Any) -> None:
        """Reads the logged files of the model, and answers a first request.

        The first request compiles the kernels, so that no caller waits for that.
        """
        folder = Path(context.artifacts["factors"])
        self._model = load_numpy(folder)
        self._seen = load_seen_items(folder)
        self._trained = self._model.trained_ids
        self._mode = SCORE if read_manifest(folder).typed_params().predicts_ratings else RECOMMEND
        user, item = self._model.user_ids[:1], self._model.item_ids[:1]
        example = pd.DataFrame({"user_id": [*user], "item_id": [*item]})
        for mode in (SCORE, RECOMMEND):
            self.predict(None, example, {"mode": mode})

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Scores or recommends, by the `mode` of `params`.

        The default mode is `score` if the model predicts ratings, else `recommend_items`. `score`
        reads `user_id`, `item_id` and returns `score` and `is_cold_start` (true if either had no
        interaction in the fit). `recommend_items` reads `user_id` and, optionally, `exclude_seen`,
        a list of item ids. It returns the lists `item_id` and `score` of the `k` best items, best
        first, and `is_cold_start`. `is_cold_start` is true if the user had no interaction in the
        fit; the user then gets the list of an unknown user. Items that the user had in the fit are
        left out, unless `exclude_trained` is false. If an id is null, all outputs of the row are
        null.

        Raises MlflowException, whose message MLflow's server returns, for missing columns. It also
        raises it for ids that cannot be converted to the type of the fit's ids.
        """
        del context
        try:
            return self._answer(model_input, {**DEFAULTS, "mode": self._mode, **(params or {})})
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _answer(self, model_input: pd.DataFrame, chosen: dict[str, Any]) -> pd.DataFrame:
        if chosen["mode"] == SCORE:
            return self._score(model_input)
        if chosen["mode"] == RECOMMEND:
            trained = bool(chosen["exclude_trained"])
            return self._recommend(model_input, int(chosen["k"]), exclude_trained=trained)
        raise ParameterError(
            f"mode is {chosen['mode']!r}; it must be '{SCORE}' or '{RECOMMEND}'. The default of "
            f"this model is '{self._mode}'."
        )

    def _score(self, sent: pd.DataFrame) -> pd.DataFrame:
        rows = rows_of(sent, "user_id", "item_id")
        users = ids_of(rows, "user_id", self._model.places(USER))
        items = ids_of(rows, "item_id", self._model.places(ITEM))
        scores = self._model.score(users, items).astype("float64") if users else np.zeros(0)
        # JSON has no NaN.
        whole = [None if np.isnan(score) else float(score) for score in scores]
        null = [u is None or i is None for u, i in zip(users, items, strict=True)]
        cold = [
            None if missing else user not in self._trained[USER] or item not in self._trained[ITEM]
            for user, item, missing in zip(users, items, null, strict=True)
        ]
        return pd.DataFrame(
            {
                "score": pd.Series(whole, dtype=object) if any(null) else scores,
                "is_cold_start": _flags(cold),
            }
        )

    def _recommend(self, sent: pd.DataFrame, k: int, *, exclude_trained: bool) -> pd.DataFrame:
        rows = rows_of(sent, "user_id")
        require_k(k)
        places, items = self._model.places(USER), self._model.places(ITEM)
        users = ids_of(rows, "user_id", places)
        sent_items = exclusions_of(rows, items)
        lists: list[tuple[list[Any], list[float]] | tuple[None, None]] = []
        for begin in range(0, len(users), _CHUNK):
            part = users[begin : begin + _CHUNK]
            without = [
                np.concatenate([self._seen_by(places.get(user, -1), exclude_trained), sent])
                for user, sent in zip(
                    part,
                    (_known(each, items) for each in sent_items[begin : begin + _CHUNK]),
                    strict=True,
                )
            ]
            lists += self._lists(part, without, k)
        return pd.DataFrame(
            {
                "item_id": pd.Series([each[0] for each in lists], dtype=object),
                "score": pd.Series([each[1] for each in lists], dtype=object),
                "is_cold_start": _flags(
                    [None if user is None else user not in self._trained[USER] for user in users]
                ),
            }
        )

    def _lists(self, users: list[Any], without: list[Ints], k: int) -> list[Any]:
        """Returns items and scores of each user; None for null users."""
        owners = np.repeat(np.arange(len(users)), [len(each) for each in without])
        choice = Choice(
            lists_of(owners, np.concatenate(without), len(users), len(self._model.places(ITEM)))
        )
        best = self._model.best_of(USER, users, k, choice)
        ids = self._model.item_ids
        return [
            (None, None)
            if user is None
            else ([ids[place] for place in row[row >= 0]], scores[row >= 0].tolist())
            for user, row, scores in zip(users, best.places, best.scores, strict=True)
        ]

    def _seen_by(self, place: int, exclude_trained: bool) -> Ints:  # noqa: FBT001 - passed on
        if self._seen is None or place < 0 or not exclude_trained:
            return np.zeros(0, np.int64)
        bounds = self._seen.indptr[place : place + 2]
        return self._seen.columns[slice(*bounds)].astype(np.int64)


def _known(items: Any, places: Any) -> Ints:
    return np.array([places[item] for item in items if item in places], np.int64)


def _flags(values: list[bool | None]) -> pd.Series:
    """Returns booleans; a column of objects if some are null."""
    return pd.Series(values, dtype=object if None in values else bool)


set_model(FactorPyfunc())
