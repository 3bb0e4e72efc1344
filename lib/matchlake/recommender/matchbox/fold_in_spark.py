"""Fold-in on Spark: rows for users or items that came, or rated, after the fit."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, FloatType, LongType, StructField, StructType

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Csr, Floats
from matchlake.engine.packing import Array
from matchlake.errors import InputError
from matchlake.recommender.columns import KEYS, require_columns
from matchlake.recommender.interactions import VALUE
from matchlake.recommender.matchbox.encoding import VECTOR, encode
from matchlake.recommender.matchbox.fold_in import NewRatings, fold_in, needed
from matchlake.recommender.matchbox.posterior import Posterior, SidePosterior, factors_of, priors_of
from matchlake.recommender.matchbox.row_encoder import RowEncoder
from matchlake.recommender.matchbox.sampler.history_features import beside, dense_rows, history_of
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import ITEM, USER
from matchlake.recommender.matchbox.single_task_output import float_lists
from matchlake.recommender.related import trained
from matchlake.schemas import ITEM_ID, RATING, USER_ID

if TYPE_CHECKING:
    from matchlake.recommender.matchbox.model import MatchboxModel

_BLOCK, _KIND = "_block", "_kind"
_RATED, _DESCRIBED = 0, 1
BLOCKS = 8
"""Tasks that share the rows to fold in; each gets all rows of the other side."""


def fold_in_rows(
    model: "MatchboxModel", side: int, history: DataFrame | None, features: DataFrame | None
) -> DataFrame:
    """Rows of `side` for all ids in `history` and `features`; see `MatchboxModel.fold_in_users`."""
    key, other = KEYS[side], KEYS[1 - side]
    if history is None and features is None:
        raise InputError(f"There is nothing to fold in: give ratings, features, or both, by {key}.")
    if history is None:
        history = _no_history(model, side)
    require_columns(history, (key, other, RATING), "the history")
    others = _trained(model, 1 - side)
    home = F.pmod(F.xxhash64(key), F.lit(BLOCKS)).cast("int")
    rated = history.join(others.select(other), other, "semi").select(
        home.alias(_BLOCK), F.lit(_RATED).alias(_KIND), key, other,
        _checked(model.levels, key).alias(VALUE),
    )  # fmt: skip
    given = rated.withColumn(VECTOR, F.lit(None).cast(ArrayType(FloatType())))
    known = history.select(key).dropna().distinct()
    encoder = model.encoders[side]
    if features is not None and encoder is not None:
        described = encode(features, key, encoder)
        known = known.join(described.select(key), key, "anti")
        described = described.select(
            home.alias(_BLOCK), F.lit(_DESCRIBED).alias(_KIND), key, VECTOR
        )
        given = given.unionByName(described, allowMissingColumns=True)
    bare = known.select(home.alias(_BLOCK), F.lit(_DESCRIBED).alias(_KIND), key)
    given = given.unionByName(bare, allowMissingColumns=True)
    missing = None if encoder is None else RowEncoder(encoder.to_json()).encode({})
    task = _Fold(model.report, side, missing)
    grouped = given.groupBy(_BLOCK).cogroup(_everywhere(others, side).groupBy(_BLOCK))
    # A lambda: Spark counts the arguments, and would count `self`.
    schema = _schema(key, history.schema[key].dataType)
    return grouped.applyInArrow(lambda _, left, right: task(left, right), schema)


def _no_history(model: "MatchboxModel", side: int) -> DataFrame:
    """Ratings of nobody, with ids of the model's types."""
    kinds = [model.users.schema[USER_ID].dataType, model.items.schema[ITEM_ID].dataType]
    ids = [F.lit(None).cast(kind).alias(name) for kind, name in zip(kinds, KEYS, strict=True)]
    rating = F.lit(None).cast("float").alias(RATING)
    return (model.users, model.items)[side].limit(0).select(*ids, rating)


def _checked(levels: list[float] | None, key: str) -> Column:
    """The rating as float; a task that meets one that cannot be folded in fails and shows its row.

    That is one of a null id, one that is null or no finite number, or, where ratings are levels,
    one that is none of them.
    """
    value = F.col(RATING).cast("float")
    fit = F.abs(value) < F.lit(math.inf) if levels is None else value.isin(levels)
    fit &= F.col(key).isNotNull()
    names = (*KEYS, RATING)
    shown = [F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in names]
    told = F.concat(
        F.lit(f"A rating cannot be folded in; its ({', '.join(names)}) is ("),
        F.concat_ws(", ", *shown),
        F.lit(f"). No {key} may be null, and a rating must be {needed(levels)}: fix or drop it."),
    )
    return F.when(F.coalesce(fit, F.lit(col=False)), value).otherwise(F.raise_error(told))


def _trained(model: "MatchboxModel", side: int) -> DataFrame:
    """The rows of `side` that the fit drew; those that were folded in since are not among them."""
    rows, index = ((model.users, "user_idx"), (model.items, "item_idx"))[side]
    drawn = F.col(index) < F.lit(int(model.report["sizes"][side]))
    return trained(rows).where(drawn)


def _everywhere(others: DataFrame, side: int) -> DataFrame:
    """All trained rows of the other side, for every block."""
    block: Column = F.explode(F.array([F.lit(number) for number in range(BLOCKS)]))
    index = "item_idx" if side == USER else "user_idx"
    key = KEYS[1 - side]
    columns: list[str | Column] = [key, F.col(index).alias("idx"), "factors", "biases"]
    if side == ITEM:
        columns.append("response")
    return others.select([block.alias(_BLOCK), *columns])


def _schema(key: str, kind: DataType) -> StructType:
    floats = ArrayType(FloatType())
    return StructType(
        [
            StructField(key, kind),
            StructField("factors", floats),
            StructField("biases", floats),
            StructField("compact", floats),
            StructField("observed", LongType()),
            StructField("prior_share", FloatType()),
        ]
    )


@dataclass(frozen=True)
class _Fold:
    """Folds in the rows of one block."""

    report: dict[str, Array]
    side: int
    missing: Floats | None
    """The features of who has no feature row."""

    def __call__(self, left: pa.Table, right: pa.Table) -> pa.Table:
        key, other = KEYS[self.side], KEYS[1 - self.side]
        right = right.sort_by("idx")
        described = left.filter(pc.equal(left[_KIND], _DESCRIBED))
        rated = left.filter(pc.equal(left[_KIND], _RATED))
        ids = combined(described[key])
        places = np.asarray(pc.index_in(rated[key], ids)).astype(np.int32)
        others = np.asarray(pc.index_in(rated[other], combined(right[other]))).astype(np.int32)
        new = NewRatings(places, others, np.asarray(rated[VALUE]), len(ids))
        # History features go by the fit's numbers, of which some rows may be gone.
        numbers = np.asarray(right["idx"]).astype(np.int32)[others]
        features = self._features(described, replace(new, others=numbers))
        posterior = posterior_of(self.report, right, self.side)
        rows, share = fold_in(posterior, self.side, new, features)
        few = self.report["compact_users" if self.side == USER else "compact_items"]
        factors = factors_of(rows)
        return pa.table(
            {
                key: ids,
                "factors": float_lists(factors),
                "biases": float_lists(rows[:, :, -1]),
                "compact": float_lists(factors @ few),
                "observed": pa.array(np.bincount(places, minlength=len(ids))),
                "prior_share": pa.array(share),
            }
        )

    def _features(self, described: pa.Table, new: NewRatings) -> Features | None:
        """Given features and history, as in the fit; missing where an id has no feature row."""
        count, width = new.count, self.report[f"links_{self.side}"].shape[1]
        seen = self.report["seen_items" if self.side == USER else "seen_users"]
        if not width:
            return None
        vectors: Csr | None = None
        if width > len(seen):
            dense = np.zeros((count, width - len(seen)), np.float32)
            if self.missing is not None:
                dense[:] = self.missing
            given = combined(described[VECTOR])
            valid: npt.NDArray[np.bool_] = np.asarray(given.is_valid())
            if valid.any():
                dense[valid] = np.asarray(given.flatten()).reshape(int(valid.sum()), -1)
            vectors = dense_rows(dense)
        history = history_of(new.rows, new.others, count, seen) if len(seen) else None
        rows = beside(vectors, history)
        return None if rows is None else Features(rows)


def posterior_of(report: dict[str, Array], others: pa.Table, side: int) -> Posterior:
    """A posterior to fold rows of `side` into: the other side's rows, and no rows of its own."""
    sides = []
    for number in (USER, ITEM):
        samples, columns = report[f"means_{number}"].shape
        rows = np.zeros((0, samples, columns), np.float32)
        if number != side:
            count = others.num_rows
            factors = np.asarray(combined(others["factors"]).flatten())
            rows = np.empty((count, samples, columns), np.float32)
            rows[:, :, :-1] = factors.reshape(count, samples, -1) * np.float32(np.sqrt(samples))
            rows[:, :, -1] = np.asarray(combined(others["biases"]).flatten()).reshape(count, -1)
        sides.append(SidePosterior(rows, *priors_of(report, number)))
    names = ("variance", "base", "shared")
    response = {name: report[name] for name in names if name in report}
    if side == ITEM:
        users = np.asarray(combined(others["response"]).flatten())
        samples = len(report["means_0"])
        shaped = users.reshape(others.num_rows, samples, -1)
        response["users"] = np.ascontiguousarray(shaped.transpose(1, 0, 2))
    return Posterior(float(report["mean"]), tuple(sides), response, report.get("levels"))
