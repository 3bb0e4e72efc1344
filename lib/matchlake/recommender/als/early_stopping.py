"""Validation measurements during a fit, and the decision to stop."""

import math
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, SCORE, USER_ID

LIST_LENGTH = 20
"""Length of the lists whose recall an implicit fit measures."""


def require_measurable(validation: DataFrame, params: AlsParams) -> None:
    """Raises SchemaError or InputError unless `validation` has a pair to measure; one action."""
    explicit = params.feedback == "explicit"
    needed = [USER_ID, ITEM_ID, *([params.value_column] if explicit else [])]
    require_columns(validation, needed, "the validation part")
    if validation.select(*needed).dropna().isEmpty():
        raise InputError(
            f"Every row of validation has a null in {', '.join(needed)}, so there is "
            "nothing to measure. Add interactions, or leave validation out."
        )


@dataclass
class EarlyStopping:
    """Measures a fit at its checkpoints and keeps its best state.

    `validation` is measured by RMSE (explicit, less is better) or by recall (implicit, more is
    better): the fraction of its pairs among the user's 20 best items without the `seen` ones.
    """

    validation: DataFrame | None
    seen: DataFrame
    params: AlsParams
    _best: tuple[float, DataFrame | None] = (math.inf, None)
    _worse: int = field(default=0)

    @property
    def spent(self) -> bool:
        """Whether the last `patience` measurements brought no improvement."""
        return self.params.patience is not None and self._worse >= self.params.patience

    def measure(self, model: FactorModel, state: DataFrame) -> float | None:
        """Measures `model` and keeps `state` if it is the best so far; one or two actions."""
        if self.validation is None:
            return None
        explicit = self.params.feedback == "explicit"
        metric = (
            self._rmse(model, self.validation) if explicit else self._recall(model, self.validation)
        )
        regret = metric if explicit else -metric
        self._worse = 0 if regret < self._best[0] else self._worse + 1
        if regret < self._best[0]:
            self._best = regret, state
        return metric

    def best_state(self, last: DataFrame) -> DataFrame:
        """The final state: with `patience` the best measured one, otherwise the last."""
        best = self._best[1]
        return last if self.params.patience is None or best is None else best

    def _rmse(self, model: FactorModel, pairs: DataFrame) -> float:
        error = F.col(SCORE) - F.col(self.params.value_column)
        row = model.score(pairs).agg(F.sqrt(F.avg(error * error)).alias("rmse")).collect()[0]
        return math.inf if row["rmse"] is None else float(row["rmse"])

    def _recall(self, model: FactorModel, pairs: DataFrame) -> float:
        pairs = pairs.select(USER_ID, ITEM_ID).distinct()
        lists = model.recommend_items(pairs.select(USER_ID), LIST_LENGTH, exclude_seen=self.seen)
        hits = pairs.join(
            lists.select(USER_ID, ITEM_ID, F.lit(1).alias("hit")), [USER_ID, ITEM_ID], "left"
        )
        row = hits.agg(F.sum("hit").alias("hits"), F.count(F.lit(1)).alias("all")).collect()[0]
        hit_count, pair_count = int(row["hits"] or 0), int(row["all"])
        return hit_count / max(1, pair_count)
