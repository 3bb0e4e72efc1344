"""Fitted feature sets as tables: the features themselves, the states, and their vocabulary."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, NumericType, StringType, StructType, TimestampType

from matchlake.features.feature_set import FeatureTable
from matchlake.features.model import FeatureModel, Fitted, Layout
from matchlake.features.numbers import FittedNumber
from matchlake.features.outputs import Output
from matchlake.features.sparse import SPARSE_COLUMN, SPARSE_TYPE
from matchlake.schemas import Column, TableSpec, quote_identifier

_LOOKED_UP_BY = (StringType, NumericType, DateType, TimestampType)
"""Types of keys of which Delta can keep the least and the greatest value of each file."""

FEATURE_SETS = TableSpec(
    "gold.feature_sets",
    "Every fitted state of every feature set, as the JSON that scoring and SQL are made from.",
    (
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "Rises by one with every fit that differs", nullable=False),
        Column("rows", "BIGINT", "Rows the set was fitted on", nullable=False),
        Column("state", "STRING", "The fitted state as JSON", nullable=False),
    ),
    keys=("feature_set", "version"),
    written_by="build_features",
)

FEATURE_VOCABULARY = TableSpec(
    "gold.feature_vocabulary",
    "What each column of the gold feature tables stands for, with the counts at fit.",
    (
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "Version of the fitted state", nullable=False),
        Column("position", "INT", "Place among the feature columns, from 0", nullable=False),
        Column("slot", "INT", "Index that stands for it in the sparse layout", nullable=False),
        Column("column_name", "STRING", "Name of the feature column", nullable=False),
        Column("feature", "STRING", "The declared feature it belongs to", nullable=False),
        Column("source_column", "STRING", "The column it was made from", nullable=False),
        Column("role", "STRING", "number, category, null or other", nullable=False),
        Column("category", "STRING", "The category it stands for; null for the other roles"),
        Column("rows", "BIGINT", "Rows at fit with this category, no value or another value"),
        Column("meaning", "STRING", "What the column says, in words", nullable=False),
    ),
    keys=("feature_set", "version", "position"),
    written_by="build_features",
)

FEATURE_COUNTS = TableSpec(
    "gold.feature_counts",
    "What each write of a feature table met beyond what the fit had seen, one row a feature.",
    (
        Column("table_name", "STRING", "The feature table that was written", nullable=False),
        Column("table_version", "BIGINT", "The Delta version that the run left", nullable=False),
        Column("counted_at", "TIMESTAMP", "When the run counted, UTC", nullable=False),
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "Version of the fitted state", nullable=False),
        Column("feature", "STRING", "The feature", nullable=False),
        Column("rows", "BIGINT", "Rows of the source", nullable=False),
        Column("nulls", "BIGINT", "Rows without a value", nullable=False),
        Column("below", "BIGINT", "Numbers below the least at fit; null for categories"),
        Column("above", "BIGINT", "Numbers above the greatest at fit; null for categories"),
        Column("other", "BIGINT", "Rows with a category without a column; null for numbers"),
    ),
    keys=("table_name", "table_version", "feature"),
    written_by="build_features",
)


def feature_table(model: FeatureModel, wanted: FeatureTable, source: StructType) -> TableSpec:
    """The table that `model.transform` fills: the keys with the types of `source`, the features.

    Delta keeps statistics of the keys only: those of hundreds of features would cost more than the
    write, and pass over no file.
    """
    columns = [
        Column(
            key,
            source[key].dataType.simpleString(),
            "Key, as in the source",
            nullable=key == wanted.split_by,
        )
        for key in model.keys
    ]
    if wanted.layout == "sparse":
        told = f"Indices, slots of {FEATURE_VOCABULARY.name}, and the values there; the rest is 0"
        columns.append(Column(SPARSE_COLUMN, SPARSE_TYPE, told, nullable=False))
    elif wanted.layout == "slots":
        columns += [column for fitted in model.features for column in _slot_columns(fitted)]
    else:
        columns += [_output_column(output) for output in model.outputs()]
    return TableSpec(
        wanted.table,
        wanted.comment,
        tuple(columns),
        keys=model.keys,
        partition_by=(wanted.split_by,) if wanted.split_by else (),
        statistics=tuple(
            key
            for key in model.keys
            if key != wanted.split_by and isinstance(source[key].dataType, _LOOKED_UP_BY)
        ),
        written_by="build_features",
    )


def feature_rows(model: FeatureModel, wanted: FeatureTable, source: DataFrame) -> DataFrame:
    """The rows of that table. Lazy; an empty text in the key it is split by fails the write.

    A partition cannot hold one: Delta would make it a null, without a word.
    """
    rows, key = model.transform(source, wanted.layout), wanted.split_by
    if key is None or dict(rows.dtypes)[key] != "string":
        return rows
    value = F.col(quote_identifier(key))
    told = f"{wanted.table}: split_by {key} has an empty text, which would become a null"
    return rows.withColumn(key, F.when(value == "", F.raise_error(F.lit(told))).otherwise(value))


def _output_column(output: Output) -> Column:
    return Column(output.name, output.type, output.comment, nullable=output.role == "number")


def _slot_columns(fitted: Fitted) -> list[Column]:
    if isinstance(fitted, FittedNumber):
        return [_output_column(output) for output in fitted.outputs()]
    told = f"{FEATURE_VOCABULARY.name}.slot of what {fitted.column}"
    if fitted.is_list:
        return [Column(fitted.name, "ARRAY<INT>", f"{told} has, rising", nullable=False)]
    return [Column(fitted.name, "INT", f"{told} is; null where that has none")]


def feature_constraints(model: FeatureModel, layout: Layout = "columns") -> dict[str, str]:
    """Conditions that every row of `model.transform` meets, by a name for each."""
    if layout == "sparse":
        width = len(model.slots())
        same = f"size({SPARSE_COLUMN}.indices) = size({SPARSE_COLUMN}.values)"
        return {"sparse": f"{same} AND size({SPARSE_COLUMN}.indices) <= {width}"}
    found = {}
    for fitted in model.features:
        limits = fitted.limits() if isinstance(fitted, FittedNumber) else None
        if limits is not None:
            low, high = limits
            name = quote_identifier(fitted.name)
            found[f"range_{fitted.name}"] = f"{name} IS NULL OR {name} BETWEEN {low!r} AND {high!r}"
    return found


def feature_properties(model: FeatureModel) -> dict[str, str]:
    """What a feature table says of the state it was made with."""
    return {
        "matchlake.feature_set": model.name,
        "matchlake.feature_set_version": str(model.version),
    }


def set_rows(model: FeatureModel) -> list[tuple[object, ...]]:
    """The row of `gold.feature_sets` for this state."""
    return [(model.name, model.version, model.rows, model.to_json())]


def vocabulary_rows(model: FeatureModel) -> list[tuple[object, ...]]:
    """The rows of `gold.feature_vocabulary` for this state."""
    slots = {output.name: slot for slot, output in enumerate(model.slots())}
    return [
        (
            model.name,
            model.version,
            position,
            slots[output.name],
            output.name,
            output.feature,
            output.source,
            output.role,
            output.category,
            output.rows,
            output.comment,
        )
        for position, output in enumerate(model.outputs())
    ]


def count_rows(
    model: FeatureModel, counted: Mapping[str, int], mark: tuple[object, ...]
) -> list[tuple[object, ...]]:
    """Rows of `gold.feature_counts` from what `count_unknown` found, behind the values of `mark`.

    `mark` is the table's name, its version and the time.
    """
    parts = ("null", "below", "above", "other")
    return [
        (
            *mark,
            model.name,
            model.version,
            fitted.name,
            counted["rows"],
            *(counted.get(f"{fitted.name}.{part}") for part in parts),
        )
        for fitted in model.features
    ]


def latest_model(sets: DataFrame, name: str) -> FeatureModel | None:
    """The newest state of the feature set `name` in `gold.feature_sets`; starts one Spark job."""
    states = sets.where(F.col("feature_set") == name).orderBy(F.desc("version")).limit(1)
    rows = states.select("state").collect()
    return FeatureModel.from_json(rows[0]["state"]) if rows else None


def unknown_keys(interactions: DataFrame, entities: DataFrame, key: str) -> DataFrame:
    """The number of interactions, and of distinct keys, whose `key` is not in `entities`. Lazy.

    One row: interactions, keys.
    """
    missing = interactions.join(entities.select(key).distinct(), key, "left_anti")
    return missing.agg(F.count("*").alias("interactions"), F.count_distinct(key).alias("keys"))
