"""Scores pairs in all samples, by cells: a cell is a block of users and a block of items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, FloatType, StructField, StructType

from matchlake.engine.arrow import combined, matrix_lists
from matchlake.engine.broadcast import copies
from matchlake.engine.csr import Floats
from matchlake.engine.grouped import Key, apply_by_cogroup
from matchlake.recommender.matchbox.frames import MatchboxFrames
from matchlake.recommender.matchbox.posterior import samples_of
from matchlake.recommender.matchbox.prediction import (
    Prediction,
    Predictor,
    covariances,
    user_responses,
)
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.ratings import DAY
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import EVENT_TIME, ITEM_ID, SCORE, USER_ID

CELL = "_cell"
BLOCK_BYTES = 64 << 20
USER_BLOCKS = 4
"""Minimum number of user blocks, so that several tasks score the pairs."""


def score_cells(
    model: MatchboxFrames, pairs: DataFrame, clip: tuple[float, float] | None
) -> DataFrame:
    """Adds the columns of `MatchboxModel.score` to `pairs`; lazy."""
    grid = Grid.of(model)
    user_type = model.user_factors.schema[USER_ID].dataType
    item_type = model.item_factors.schema[ITEM_ID].dataType
    cell = grid.cell(F.col(USER_ID).cast(user_type), F.col(ITEM_ID).cast(item_type))
    left = pairs.withColumn(CELL, cell)
    if model.params.day_effects:
        left = left.withColumn("_day", F.unix_date(F.to_date(EVENT_TIME)))
    added = [StructField(SCORE, FloatType()), StructField("rating_std", FloatType())]
    added.append(StructField("is_cold_start", BooleanType()))
    if model.rating_levels is not None:
        added.append(StructField("level_probabilities", ArrayType(FloatType())))
    schema = StructType([*pairs.schema.fields, *added])
    report = model.report.for_scoring()
    task = _ScoreCell(report, len(pairs.columns), clip, day_effects=model.params.day_effects)
    return apply_by_cogroup(left, grid.rows(model), CELL, task, schema)


@dataclass(frozen=True)
class Grid:
    """The number of blocks of each side; a row's block is a hash of its id."""

    users: int
    items: int

    @staticmethod
    def of(model: MatchboxFrames) -> "Grid":
        """Makes the grid for blocks of about BLOCK_BYTES."""
        users, items = model.report.sizes[:2]
        row = 4 * (model.params.rank + 1) * model.report.samples
        return Grid(
            max(USER_BLOCKS, -(-users * row // BLOCK_BYTES)), max(1, -(-items * row // BLOCK_BYTES))
        )

    def cell(self, user: Column, item: Column) -> Column:
        """Returns the cell of a pair; a null id is in the first block."""
        return self._block(user, self.users) * F.lit(self.items) + self._block(item, self.items)

    def rows(self, model: MatchboxFrames) -> DataFrame:
        """All rows of the model; a row is repeated in every cell of its block."""
        user_cell = self._block(F.col(USER_ID), self.users) * F.lit(self.items) + F.col("_n")
        item_cell = F.col("_n") * F.lit(self.items) + self._block(F.col(ITEM_ID), self.items)
        users = model.user_factors.withColumn("_n", copies(self.items)).select(
            user_cell.alias(CELL), F.lit(USER).alias("side"), USER_ID, "factors", "biases",
            "n_interactions", _prior_share(model, USER), "response",
        )  # fmt: skip
        items = model.item_factors.withColumn("_n", copies(self.users)).select(
            item_cell.alias(CELL), F.lit(ITEM).alias("side"), ITEM_ID, "factors", "biases",
            "n_interactions", _prior_share(model, ITEM),
        )  # fmt: skip
        rows = users.unionByName(items, allowMissingColumns=True)
        if model.days is None:
            return rows
        days = model.days.withColumn("_n", copies(self.items)).select(
            user_cell.alias(CELL), F.lit(DAY).alias("side"), USER_ID, "day", "factors", "biases",
            F.lit(1).cast("long").alias("n_interactions"),
            F.lit(0).cast("float").alias("prior_share"),
        )  # fmt: skip
        return rows.unionByName(days, allowMissingColumns=True)

    @staticmethod
    def _block(key: Column, blocks: int) -> Column:
        return F.pmod(F.hash(key), F.lit(blocks))


def _prior_share(model: MatchboxFrames, side: int) -> Column:
    """The `prior_share` of a `Predictor`; only folded-in rows store their own value."""
    rows, cold = model.side(side), model.report.sides[side].cold_share
    known = F.when(F.col("n_interactions") > 0, 0.0).otherwise(cold)
    own = F.col("prior_share") if "prior_share" in rows.columns else F.lit(None)
    return F.coalesce(own, known).cast("float").alias("prior_share")


@dataclass(frozen=True)
class _ScoreCell:
    """Scores the pairs of one cell with the rows of this cell."""

    report: PosteriorReport
    columns: int
    clip: tuple[float, float] | None
    day_effects: bool

    def __call__(self, _: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        pairs = left.select(left.column_names[: self.columns])
        sides = [_SideRows(right, side, self.report) for side in (USER, ITEM)]
        indices = [sides[USER].places(left[USER_ID]), sides[ITEM].places(left[ITEM_ID])]
        trained = sides[USER].known[indices[USER]] & sides[ITEM].known[indices[ITEM]]
        if self.day_effects:
            days = _SideRows(right, DAY, self.report)
            sides.append(days)
            indices.append(days.places(left[USER_ID], left["_day"]))
        offsets = np.cumsum([0, *[len(side.rows) for side in sides[:-1]]])
        predictor = Predictor(
            mean=self.report.mean,
            rows=np.concatenate([side.rows for side in sides]),
            prior_share=np.concatenate([side.prior_share for side in sides]),
            covariances=covariances(self.report, len(sides)),
            response=sides[USER].response(self.report),
            levels=self.report.rating_levels,
        )
        stacked = np.stack(
            [index + start for index, start in zip(indices, offsets, strict=True)], 1
        )
        prediction = predictor.predict(stacked.astype(np.int32), self.clip)
        return _with_prediction(pairs, prediction, trained)


class _SideRows:
    """The rows of users, items or days in one cell; the last is the average row for unknown ids."""

    def __init__(self, right: pa.Table, side: int, report: PosteriorReport) -> None:
        self._side = side
        self._table = right.filter(pc.equal(right["side"], side))
        priors = report.sides[side]
        shape = priors.average.shape[0], priors.average.shape[1]
        rows = samples_of(_flat(self._table, "factors"), _flat(self._table, "biases"), shape)
        self.rows = np.concatenate([rows, priors.average[None].astype(np.float32)])
        counts = np.asarray(self._table["n_interactions"])
        self.known = np.append(counts > 0, False)
        share = np.asarray(self._table["prior_share"])
        self.prior_share = np.append(share, np.float32(priors.cold_share)).astype(np.float32)

    def places(self, *keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """The position of each key in `rows`; the key of a day is a user and a day."""
        if self._side == DAY:
            names = [USER_ID, "day"]
            types = [self._table.schema.field(name).type for name in names]
            cast = [key.cast(kind) for key, kind in zip(keys, types, strict=True)]
            queries = pa.table(cast, names=["user", "date"])
            known = self._table.select(names).append_column(
                "place", pa.array(np.arange(self._table.num_rows))
            )
            queries = queries.append_column("order", pa.array(np.arange(len(queries))))
            joined = queries.join(known, ["user", "date"], names).sort_by("order")
            index = joined["place"]
        else:
            ids = combined(self._table[KEYS[self._side]])
            index = pc.index_in(keys[0].cast(ids.type), ids)
        return np.asarray(pc.fill_null(index, len(self.rows) - 1))

    def response(self, report: PosteriorReport) -> Floats:
        """The `response` of a `Predictor`; users without ratings get the shared values."""
        own = np.append(np.asarray(self._table["response"].is_valid()), False)
        rows = _flat(self._table, "response").reshape(int(own.sum()), report.samples, -1)
        return user_responses(report, own, rows)


def _flat(table: pa.Table, column: str) -> Floats:
    return np.asarray(combined(table[column]).flatten())


def _with_prediction(
    pairs: pa.Table, prediction: Prediction, trained: npt.NDArray[np.bool_]
) -> pa.Table:
    pairs = pairs.append_column(SCORE, pa.array(prediction.scores))
    pairs = pairs.append_column("rating_std", pa.array(prediction.rating_std))
    pairs = pairs.append_column("is_cold_start", pa.array(~trained))
    if prediction.level_probabilities is None:
        return pairs
    lists = matrix_lists(prediction.level_probabilities)
    return pairs.append_column("level_probabilities", lists)
