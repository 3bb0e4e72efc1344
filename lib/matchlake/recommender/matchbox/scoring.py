"""Pairs scored sample by sample, cell by cell: a cell has one block of users and one of items."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, FloatType, StructField, StructType

from matchlake.engine.arrow import combined, list_array
from matchlake.engine.csr import Floats
from matchlake.engine.packing import Array
from matchlake.recommender.matchbox.prediction import (
    Prediction,
    Predictor,
    covariances,
    user_spread,
)
from matchlake.recommender.matchbox.sampler.ratings import DAY, ITEM, USER
from matchlake.schemas import EVENT_TIME, ITEM_ID, SCORE, USER_ID

if TYPE_CHECKING:
    from matchlake.recommender.matchbox.model import MatchboxModel

CELL = "_cell"
BLOCK_BYTES = 64 << 20
_COLD = "cold_share_"
_NEEDED = ("mean", "levels", "average_", "precisions_", "variance", "base", "shared", _COLD)
"""What of a report a cell needs."""
USER_BLOCKS = 4
"""Blocks of users at least: pairs of one block are scored by one task."""


def score_cells(
    model: "MatchboxModel", pairs: DataFrame, clip: tuple[float, float] | None
) -> DataFrame:
    """`pairs` with `score`, `deviation`, `cold` and, for levels, `chances`; lazy."""
    grid = Grid.of(model)
    user_type = model.users.schema[USER_ID].dataType
    item_type = model.items.schema[ITEM_ID].dataType
    cell = grid.cell(F.col(USER_ID).cast(user_type), F.col(ITEM_ID).cast(item_type))
    left = pairs.withColumn(CELL, cell)
    if model.params.dates:
        left = left.withColumn("_day", F.unix_date(F.to_date(EVENT_TIME)))
    added = [StructField(SCORE, FloatType()), StructField("deviation", FloatType())]
    added.append(StructField("cold", BooleanType()))
    if model.levels is not None:
        added.append(StructField("chances", ArrayType(FloatType())))
    schema = StructType([*pairs.schema.fields, *added])
    small = {name: array for name, array in model.report.items() if name.startswith(_NEEDED)}
    score = _ScoreCell(small, len(pairs.columns), clip, dates=model.params.dates)
    grouped = left.groupBy(CELL).cogroup(grid.rows(model).groupBy(CELL))
    # A lambda: Spark counts the arguments, and would count `self`.
    return grouped.applyInArrow(lambda _, pairs, rows: score(pairs, rows), schema)


@dataclass(frozen=True)
class Grid:
    """How many blocks each side has; a row's block is a hash of its id."""

    users: int
    items: int

    @staticmethod
    def of(model: "MatchboxModel") -> "Grid":
        """Blocks of about BLOCK_BYTES."""
        users, items = (int(count) for count in model.report["sizes"][:2])
        row = 4 * (model.params.rank + 1) * model.report["means_0"].shape[0]
        return Grid(
            max(USER_BLOCKS, -(-users * row // BLOCK_BYTES)), max(1, -(-items * row // BLOCK_BYTES))
        )

    def cell(self, user: Column, item: Column) -> Column:
        """The cell of a pair; a null id goes to the first block."""
        return self._block(user, self.users) * F.lit(self.items) + self._block(item, self.items)

    def rows(self, model: "MatchboxModel") -> DataFrame:
        """All rows of the model, each in every cell that its block is part of."""
        every_item = F.explode(F.array([F.lit(n) for n in range(self.items)]))
        every_user = F.explode(F.array([F.lit(n) for n in range(self.users)]))
        user_cell = self._block(F.col(USER_ID), self.users) * F.lit(self.items) + F.col("_n")
        item_cell = F.col("_n") * F.lit(self.items) + self._block(F.col(ITEM_ID), self.items)
        users = model.users.withColumn("_n", every_item).select(
            user_cell.alias(CELL), F.lit(USER).alias("side"), USER_ID, "factors", "biases",
            "observed", _prior_share(model, USER), "response",
        )  # fmt: skip
        items = model.items.withColumn("_n", every_user).select(
            item_cell.alias(CELL), F.lit(ITEM).alias("side"), ITEM_ID, "factors", "biases",
            "observed", _prior_share(model, ITEM),
        )  # fmt: skip
        rows = users.unionByName(items, allowMissingColumns=True)
        if model.days is None:
            return rows
        days = model.days.withColumn("_n", every_item).select(
            user_cell.alias(CELL), F.lit(DAY).alias("side"), USER_ID, "day", "factors", "biases",
            F.lit(1).cast("long").alias("observed"), F.lit(0).cast("float").alias("prior_share"),
        )  # fmt: skip
        return rows.unionByName(days, allowMissingColumns=True)

    @staticmethod
    def _block(key: Column, blocks: int) -> Column:
        return F.pmod(F.hash(key), F.lit(blocks))


def _prior_share(model: "MatchboxModel", side: int) -> Column:
    """What a `Predictor` wants of each row; only rows that were folded in say it themselves."""
    rows, cold = (model.users, model.items)[side], float(model.report.get(_COLD + str(side), 1.0))
    known = F.when(F.col("observed") > 0, 0.0).otherwise(cold)
    said = F.col("prior_share") if "prior_share" in rows.columns else F.lit(None)
    return F.coalesce(said, known).cast("float").alias("prior_share")


@dataclass(frozen=True)
class _ScoreCell:
    """Scores one cell's pairs with its rows."""

    report: dict[str, Array]
    columns: int
    clip: tuple[float, float] | None
    dates: bool

    def __call__(self, left: pa.Table, right: pa.Table) -> pa.Table:
        kept = left.select(left.column_names[: self.columns])
        sides = [_SideRows(right, side, self.report) for side in (USER, ITEM)]
        places = [sides[USER].places(left[USER_ID]), sides[ITEM].places(left[ITEM_ID])]
        trained = sides[USER].known[places[USER]] & sides[ITEM].known[places[ITEM]]
        if self.dates:
            days = _SideRows(right, DAY, self.report)
            sides.append(days)
            places.append(days.places(left[USER_ID], left["_day"]))
        offsets = np.cumsum([0, *[len(side.rows) for side in sides[:-1]]])
        predictor = Predictor(
            mean=float(self.report["mean"]),
            rows=np.concatenate([side.rows for side in sides]),
            prior_share=np.concatenate([side.prior_share for side in sides]),
            covariances=covariances(self.report, len(sides)),
            response=sides[USER].response(self.report),
            levels=self.report.get("levels"),
        )
        stacked = np.stack([place + start for place, start in zip(places, offsets, strict=True)], 1)
        return _with_prediction(
            kept, predictor.predict(stacked.astype(np.int32), self.clip), trained
        )


class _SideRows:
    """One side's rows in a cell, the average row for unknown ids at the end."""

    def __init__(self, right: pa.Table, side: int, report: dict[str, Array]) -> None:
        self._side = side
        self._table = right.filter(pc.equal(right["side"], side))
        samples, columns = report[f"average_{side}"].shape
        factors = _flat(self._table, "factors").reshape(-1, samples, columns - 1)
        self.rows = np.empty((len(factors) + 1, samples, columns), np.float32)
        self.rows[:-1, :, :-1] = factors * np.float32(np.sqrt(samples))
        self.rows[:-1, :, -1] = _flat(self._table, "biases").reshape(-1, samples)
        self.rows[-1] = report[f"average_{side}"]
        observed = np.asarray(self._table["observed"])
        self.known = np.append(observed > 0, False)
        share = np.asarray(self._table["prior_share"])
        cold = np.float32(report.get(f"{_COLD}{side}", 1.0))
        self.prior_share = np.append(share, cold).astype(np.float32)

    def places(self, *keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Place of each key (for days: user and day) in `rows`."""
        if self._side == DAY:
            names = [USER_ID, "day"]
            types = [self._table.schema.field(name).type for name in names]
            cast = [key.cast(kind) for key, kind in zip(keys, types, strict=True)]
            wanted = pa.table(cast, names=["user", "date"])
            known = self._table.select(names).append_column(
                "place", pa.array(np.arange(self._table.num_rows))
            )
            wanted = wanted.append_column("order", pa.array(np.arange(len(wanted))))
            joined = wanted.join(known, ["user", "date"], names).sort_by("order")
            place = joined["place"]
        else:
            ids = combined(self._table[USER_ID if self._side == USER else ITEM_ID])
            place = pc.index_in(keys[0].cast(ids.type), ids)
        return np.asarray(pc.fill_null(place, len(self.rows) - 1))

    def response(self, report: dict[str, Array]) -> Floats:
        """The users' part of a `Predictor`; users without ratings get what users share."""
        samples = len(report["average_0"])
        shared = report["shared"] if "shared" in report else report["variance"][:, None]
        out = np.tile(shared.astype(np.float32), (len(self.rows), 1, 1))
        own = np.append(np.asarray(self._table["response"].is_valid()), False)
        if own.any():
            given = _flat(self._table, "response").reshape(int(own.sum()), samples, -1)
            out[own] = user_spread(given, report.get("base"))
        return out


def _flat(table: pa.Table, column: str) -> Floats:
    return np.asarray(combined(table[column]).flatten())


def _with_prediction(kept: pa.Table, found: Prediction, trained: npt.NDArray[np.bool_]) -> pa.Table:
    kept = kept.append_column(SCORE, pa.array(found.scores))
    kept = kept.append_column("deviation", pa.array(found.deviations))
    kept = kept.append_column("cold", pa.array(~trained))
    if found.chances is None:
        return kept
    bounds = np.arange(len(found.chances) + 1, dtype=np.int64) * found.chances.shape[1]
    return kept.append_column("chances", list_array(bounds, found.chances.ravel()))
