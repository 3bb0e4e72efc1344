"""Linear item-item models as frames: weights, and users' histories."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.arrow import combined
from matchlake.engine.broadcast import combine, lists_by_query, stream_queries
from matchlake.engine.top_k import TargetLists, pick_lists, require_k, select_top_k
from matchlake.recommender.columns import id_types, require_columns, with_id_types
from matchlake.recommender.factors import with_rows, within
from matchlake.recommender.linear.kernels import Floats
from matchlake.recommender.linear.numpy_model import NumpyLinearModel, load_numpy
from matchlake.recommender.linear.params import EaseParams, SlimParams
from matchlake.recommender.linear.weights import ItemWeights, weights_of
from matchlake.recommender.parts import to_arrow
from matchlake.recommender.protocol import Capability, ModelParts, Recommender, refuse
from matchlake.recommender.ranking import list_rows, lists_schema
from matchlake.recommender.sides import KEYS, USER
from matchlake.schemas import ITEM_ID, SCORE, USER_ID

_EVERY = (1 << 31) - 1
_BATCH = 128
"""The number of queries whose scores of all items are in memory at a time."""


@dataclass(frozen=True, repr=False)
class LinearModel(Recommender):
    """score(user, i) = sum over the user's history j of value(user, j) * weight(j, i).

    `users` has `user_id`, `user_idx`, `n_interactions`, `history` (array of item_idx, ascending)
    and `values` (array of float). `items` has `item_id`, `item_idx`, `n_interactions` and `weights`
    (array of float).

    The model orders items and does not predict ratings: a score is a sum of weights.
    """

    users: DataFrame
    items: DataFrame
    params: EaseParams | SlimParams
    sizes: tuple[int, int] | None = None

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"fold_in_users"})

    def __repr__(self) -> str:
        sizes = f"users={self.sizes[0]:,}, items={self.sizes[1]:,}" if self.sizes else ""
        return f"{type(self).__name__}({sizes})"

    @property
    def predicts_ratings(self) -> bool:
        """Returns false: scores only order items."""
        return False

    def known(self, side: int) -> DataFrame:
        """The ids of users (side 0) or items (side 1), with `n_interactions`; lazy."""
        return (self.users, self.items)[side].select(KEYS[side], "n_interactions")

    def score(self, pairs: DataFrame, *, clip: tuple[float, float] | None = None) -> DataFrame:
        """Adds `score` (float) and `is_cold_start` (user or item is unknown) to `pairs`; lazy.

        A cold-start row has the score 0.
        """
        pairs = with_id_types(pairs, id_types(self.users, self.items), "the pairs")
        known = pairs.select(USER_ID).join(self.users, USER_ID, "semi")
        lists = self.recommend_items(known, _EVERY, candidates=pairs.select(USER_ID, ITEM_ID))
        scored = lists.select(USER_ID, ITEM_ID, F.col(SCORE).alias("_score"))
        score = within(F.coalesce("_score", F.lit(0.0).cast("float")), clip)
        return pairs.join(scored, [USER_ID, ITEM_ID], "left").select(
            *pairs.columns, score.alias(SCORE), F.col("_score").isNull().alias("is_cold_start")
        )

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The best items of each user; see `Recommender.recommend_items`.

        An unknown user (`is_cold_start`) gets the items with the most interactions, with this
        number as the score.
        """
        require_k(k)
        kinds = id_types(self.users, self.items)
        histories = self.users.select(F.col(USER_ID).alias("id"), "history", "values")
        queries = histories
        if users is not None:
            users = with_id_types(users, {USER_ID: kinds[USER_ID]}, "the frame of queries")
            ids = users.select(F.col(USER_ID).alias("id")).where(F.col("id").isNotNull()).distinct()
            queries = ids.join(histories, "id", "left")
        if exclude_seen is not None:
            exclude_seen = with_id_types(exclude_seen, kinds, "the pairs to exclude")
        targets = self.items.withColumn("open", F.lit(col=True))
        pairs = exclude_seen
        own = candidates is not None and USER_ID in candidates.columns
        if candidates is not None:
            needed = kinds if own else {ITEM_ID: kinds[ITEM_ID]}
            candidates = with_id_types(candidates, needed, "the frame of candidates")
        if candidates is not None and own:
            pairs = candidates.select(USER_ID, ITEM_ID).distinct()
            if exclude_seen is not None:
                pairs = pairs.join(exclude_seen, [USER_ID, ITEM_ID], "anti")
        elif candidates is not None:
            chosen = candidates.select(ITEM_ID).distinct().withColumn("_open", F.lit(col=True))
            targets = self.items.join(chosen, ITEM_ID, "left").withColumnRenamed("_open", "open")
        if pairs is not None:
            pairs = pairs.select(F.col(USER_ID).alias("query"), F.col(ITEM_ID).alias("target"))
        weights = [name for name in ("sources", "weights") if name in targets.columns]
        columns = ("n_interactions", *weights, "open")
        targets = targets.select(
            F.col(ITEM_ID).alias("id"), F.col("item_idx").alias("idx"), *columns
        )
        names = USER_ID, ITEM_ID
        task = _Task(k, only_given=own)
        rows = combine(targets, queries, pairs)
        return rows.mapInArrow(task, lists_schema(names, (kinds[USER_ID], kinds[ITEM_ID])))

    def fold_in(
        self,
        *,
        users: DataFrame | None = None,
        items: DataFrame | None = None,
        user_features: DataFrame | None = None,
        item_features: DataFrame | None = None,
        checkpoint: Callable[[DataFrame], DataFrame] | None = None,
    ) -> Self:
        """Returns the model with new or changed users; lazy.

        It reads `user_id`, `item_id` and the value column. The new history of a user replaces the
        old one; unknown items are ignored.
        """
        if items is not None or user_features is not None or item_features is not None:
            refuse(self, "fold_in of items or features")
        if users is None:
            return self
        column = self.params.value_column
        columns = (USER_ID, ITEM_ID) if column is None else (USER_ID, ITEM_ID, column)
        require_columns(users, columns, "the history")
        value = F.lit(1.0) if column is None else F.sum(column)
        known = users.dropna(subset=list(columns)).groupBy(USER_ID, ITEM_ID)
        pairs = known.agg(value.cast("float").alias("value"))
        ids = self.items.select(ITEM_ID, F.col("item_idx").cast("int").alias("place"))
        entries = F.sort_array(F.collect_list(F.struct("place", "value"))).alias("row")
        rows = pairs.join(ids, ITEM_ID).groupBy(USER_ID).agg(entries)
        rows = rows.select(
            USER_ID,
            F.size("row").cast("long").alias("n_interactions"),
            F.col("row")["place"].alias("history"),
            F.col("row")["value"].alias("values"),
        )
        rows = rows if checkpoint is None else checkpoint(rows)
        return replace(self, users=with_rows(self.users, rows, USER), sizes=None)

    def to_parts(self) -> ModelParts[DataFrame]:
        """All parts of the model, for saving."""
        return ModelParts(self.users, self.items, self.params)

    def to_numpy(self) -> NumpyLinearModel:
        """The model in this process's memory; two Spark jobs."""
        return load_numpy(to_arrow(self.to_parts()))


class EaseModel(LinearModel):
    """Weights in closed form: `weights` of an item has its weights for every item."""

    algorithm: ClassVar[str] = "ease"


class SlimModel(LinearModel):
    """Sparse weights: an item has `sources` (array of item_idx) and their `weights`."""

    algorithm: ClassVar[str] = "slim"


def load(parts: ModelParts[DataFrame]) -> LinearModel:
    """The model of saved parts, as frames."""
    kind = EaseModel if isinstance(parts.params, EaseParams) else SlimModel
    return kind(parts.users, parts.items, parts.params, parts.sizes)


class _Targets(NamedTuple):
    """The data of a task: all items, ordered by index, and the given pairs of its users."""

    ids: pa.Array
    weights: ItemWeights
    counts: Floats
    closed: np.ndarray
    owners: pa.Array
    given: TargetLists


@dataclass(frozen=True)
class _Task:
    """The function of a task: reads items, given pairs and users, in this order; returns lists."""

    k: int
    only_given: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for queries, targets in stream_queries(batches, self._settle, _BATCH):
            yield self._answer(queries, targets)

    @staticmethod
    def _settle(table: pa.Table, given: pa.Table) -> _Targets:
        table = table.sort_by("idx")
        ids = combined(table["target"])
        weights = weights_of(table)
        counts = np.asarray(table["n_interactions"]).astype(np.float32)
        closed = ~np.asarray(pc.fill_null(combined(table["open"]), fill_value=False))
        return _Targets(ids, weights, counts, closed, *lists_by_query(given, ids))

    def _answer(self, batch: pa.RecordBatch, targets: _Targets) -> pa.RecordBatch:
        indices = np.asarray(pc.fill_null(pc.index_in(batch["query"], targets.owners), -1))
        given = pick_lists(targets.given, indices)
        scores = np.zeros((len(batch), len(targets.ids)), np.float32)
        history, values = batch["history"], batch["values"]
        cold = history.is_null()
        for row in range(len(batch)):
            if history[row].is_valid:
                entries = np.asarray(history[row].values), np.asarray(values[row].values)
                targets.weights.add(entries, scores[row])
            else:
                scores[row] = targets.counts
            if not self.only_given:
                scores[row, given.places[slice(*given.indptr[row : row + 2])]] = -np.inf
        scores[:, targets.closed] = -np.inf
        best = select_top_k(scores, self.k, given if self.only_given else None)
        none = np.zeros(len(batch), np.float32)
        ids = batch["query"], targets.ids
        return list_rows((USER_ID, ITEM_ID), ids, best, none, cold)
