"""Compares the scores of a server with Spark's scores for the same rows.

The events of the prediction log contain the columns of the request and the response. The same model
scores the columns again by `transform`. So a difference is training-serving skew.
"""

from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.formulas.heads.links import PROBABILITIES
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.schemas import quote_identifier

EVENTS = "bronze.prediction_events"
"""The table that conf/data/prediction_events.yml declares."""
_ID, _SERVED = "served:id", "served"
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_TIE = 1e-12
_NAMED = 5


class Compared(NamedTuple):
    """The comparison for the events of one version of a model."""

    rows: int
    differences: int
    examples: tuple[str, ...]
    """Ids of some events with a different score."""


def compare_served(model: ScoringModel, events: DataFrame) -> Compared:
    """Scores the events' columns again; one Spark job.

    Reads `id`, `inputs` and `outputs`. A number differs if it is farther than the tolerance of the
    model's head, relative to the larger of it and 1. Two labels of equal probability are equal.
    """
    keyed = model.features.model_copy(update={"keys": (_ID,)})
    scoring = model.model_copy(update={"features": keyed})
    served = F.from_json("outputs", _outputs_schema(model)).alias(_SERVED)
    rows = events.select(F.col("id").alias(_ID), served, *_columns(model))
    again = scoring.transform(rows.drop(_SERVED))
    both = again.join(rows.select(_ID, _SERVED).distinct(), _ID)
    differs = F.expr("false")
    for output in model.outputs():
        differs = differs | ~_same(output.name, output.type, model)
    marked = both.select(_ID, differs.alias("differs"))
    wrong = F.when(F.col("differs"), F.col(quote_identifier(_ID)))
    counts = marked.agg(F.count("*"), F.count_if("differs"), F.collect_set(wrong)).collect()[0]
    return Compared(int(counts[0]), int(counts[1]), tuple(sorted(counts[2])[:_NAMED]))


def _columns(model: ScoringModel) -> list[Column]:
    """Reads the columns of the features from the JSON `inputs`, by the rules of the server."""
    types = {fitted.column: fitted.type for fitted in model.features.features}
    schema = ", ".join(f"{quote_identifier(name)} {_read(kind)}" for name, kind in types.items())
    sent = F.from_json("inputs", schema)
    return [_typed(sent[name], kind).alias(name) for name, kind in types.items()]


def _read(kind: str) -> str:
    """Returns the type for reading JSON: string where numbers may have several forms."""
    if kind.startswith("array<"):
        return f"array<{_read(kind[6:-1])}>"
    if kind in _WHOLE or kind == "date":
        return "string"
    return "double" if kind == "float" else kind


def _typed(column: Column, kind: str) -> Column:
    if kind.startswith("array<"):
        return F.transform(column, lambda each: _typed(each, kind[6:-1]))
    if kind in _WHOLE:
        return column.try_cast("decimal(38,1)").try_cast(kind)
    return column if _read(kind) == kind else column.try_cast(kind)


def _outputs_schema(model: ScoringModel) -> str:
    return ", ".join(f"{each.name} {each.type}" for each in model.outputs())


def _same(name: str, kind: str, model: ScoringModel) -> Column:
    """Returns whether an output equals the served one. In JSON, NaN is null."""
    now, then = F.col(name), F.col(_SERVED)[name]
    if kind == "STRING":
        order = F.sort_array(F.col(PROBABILITIES), asc=False)
        return now.eqNullSafe(then) | F.coalesce(order[0] - order[1] <= _TIE, F.expr("false"))
    if kind == "INT":
        return now.eqNullSafe(then)
    tolerance = model.head.tolerance()
    if not kind.startswith("ARRAY<"):
        return _close(now, then, tolerance)
    pairs = F.zip_with(now, then, lambda a, b: _close(a, b, tolerance))
    equal = F.forall(pairs, lambda each: each) & (F.size(now) == F.size(then))
    return F.when(now.isNull() | then.isNull(), now.isNull() & then.isNull()).otherwise(equal)


def _close(now: Column, then: Column, tolerance: float) -> Column:
    is_number = now.isNotNull() & ~F.isnan(now) & (F.abs(now) < F.lit(float("inf")))
    unit = F.greatest(F.lit(1.0), F.abs(now))
    near = F.coalesce(F.abs(now - then) <= tolerance * unit, F.expr("false"))
    return F.when(is_number, near).otherwise(then.isNull())
