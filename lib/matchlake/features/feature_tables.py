"""The tables of fitted feature sets: features, fitted states, vocabulary, and counts."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, NumericType, StringType, StructType, TimestampType

from matchlake.features.fitted import FittedFeature, Output
from matchlake.features.index_layouts import SPARSE_COLUMN, SPARSE_TYPE
from matchlake.features.model import FeatureModel, Layout
from matchlake.features.params import FeatureTable
from matchlake.formulas.sql import SPARK, Dialect
from matchlake.schemas import Column, TableSpec, quote_identifier

_LOOKED_UP_BY = (StringType, NumericType, DateType, TimestampType)
"""Key types for which Delta can keep the minimum and maximum of each file."""

FEATURE_SETS = TableSpec(
    "gold.feature_sets",
    "Every fitted state of every feature set, as the JSON that scoring and SQL are built from.",
    (
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "One higher with every fit that differs", nullable=False),
        Column("rows", "BIGINT", "Rows the set was fitted on", nullable=False),
        Column("state", "STRING", "The fitted state as JSON", nullable=False),
    ),
    keys=("feature_set", "version"),
    user_columns=(),
    written_by="build_features",
)

FEATURE_VOCABULARY = TableSpec(
    "gold.feature_vocabulary",
    "The meaning of each column of the gold feature tables, with the counts at fit.",
    (
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "Version of the fitted state", nullable=False),
        Column("position", "INT", "Place among the feature columns, from 0", nullable=False),
        Column("feature_index", "INT", "Index in the sparse and index layouts", nullable=False),
        Column("column_name", "STRING", "Name of the feature column", nullable=False),
        Column("feature", "STRING", "The declared feature it belongs to", nullable=False),
        Column("source_column", "STRING", "The column that the feature reads", nullable=False),
        Column("role", "STRING", "number, category, null or unknown", nullable=False),
        Column("category", "STRING", "The category; null for the other roles"),
        Column("rows", "BIGINT", "Rows at fit with this category, no value or an unknown value"),
        Column("meaning", "STRING", "The meaning of the column, in words", nullable=False),
    ),
    keys=("feature_set", "version", "position"),
    user_columns=(),
    written_by="build_features",
)

FEATURE_COUNTS = TableSpec(
    "gold.feature_counts",
    "Values that the fit had not seen, one row per feature and write of a feature table.",
    (
        Column("table_name", "STRING", "The feature table that was written", nullable=False),
        Column("table_version", "BIGINT", "The Delta version that the run wrote", nullable=False),
        Column("counted_at", "TIMESTAMP", "When the run counted, UTC", nullable=False),
        Column("feature_set", "STRING", "Name of the feature set", nullable=False),
        Column("version", "INT", "Version of the fitted state", nullable=False),
        Column("feature", "STRING", "The feature", nullable=False),
        Column("rows", "BIGINT", "Rows of the source", nullable=False),
        Column("nulls", "BIGINT", "Rows without a value", nullable=False),
        Column("below_min", "BIGINT", "Numbers below the minimum at fit; null for categories"),
        Column("above_max", "BIGINT", "Numbers above the maximum at fit; null for categories"),
        Column("unknown_category", "BIGINT", "Rows with an unknown category; null for numbers"),
    ),
    keys=("table_name", "table_version", "feature"),
    user_columns=(),
    written_by="build_features",
)


def feature_table(model: FeatureModel, params: FeatureTable, source: StructType) -> TableSpec:
    """The table for the rows of `feature_rows`: keys with the types of `source`, then features.

    Delta keeps statistics of the keys only. Those of hundreds of features would cost more than the
    write, and would let no read skip a file.
    """
    columns = [
        Column(
            key,
            source[key].dataType.simpleString(),
            "Key, as in the source",
            nullable=key == params.split_by,
        )
        for key in model.keys
    ]
    if params.layout == "sparse":
        comment = f"Indices by {FEATURE_VOCABULARY.name}, and their values; all others are 0"
        columns.append(Column(SPARSE_COLUMN, SPARSE_TYPE, comment, nullable=False))
    elif params.layout == "index":
        columns += [column for fitted in model.features for column in _index_columns(fitted)]
    else:
        columns += [_output_column(output) for output in model.outputs()]
    return TableSpec(
        params.table,
        params.comment,
        tuple(columns),
        keys=model.keys,
        partition_by=(params.split_by,) if params.split_by else (),
        statistics=tuple(
            key
            for key in model.keys
            if key != params.split_by and isinstance(source[key].dataType, _LOOKED_UP_BY)
        ),
        user_columns=params.persons,
        written_by="build_features",
    )


def feature_rows(model: FeatureModel, params: FeatureTable, source: DataFrame) -> DataFrame:
    """The rows of a feature table. Lazy; an empty string in the `split_by` key fails the write.

    A partition cannot hold an empty string: Delta would silently store a null.
    """
    rows, key = model.transform(source, params.layout), params.split_by
    if key is None or dict(rows.dtypes)[key] != "string":
        return rows
    value = F.col(quote_identifier(key))
    message = f"{params.table}: split_by {key} has an empty string, which would become a null"
    return rows.withColumn(key, F.when(value == "", F.raise_error(F.lit(message))).otherwise(value))


def _output_column(output: Output) -> Column:
    return Column(output.name, output.type, output.comment, nullable=output.role == "number")


def _index_columns(fitted: FittedFeature) -> list[Column]:
    if not fitted.gives_ones:
        return [_output_column(output) for output in fitted.outputs()]
    index = f"{FEATURE_VOCABULARY.name}.feature_index"
    if fitted.is_list:
        comment = f"{index} of each value of {fitted.column}, in rising order"
        return [Column(fitted.name, "ARRAY<INT>", comment, nullable=False)]
    return [Column(fitted.name, "INT", f"{index} of {fitted.column}; null without one")]


def feature_constraints(
    model: FeatureModel, layout: Layout = "wide", dialect: Dialect = SPARK
) -> dict[str, str]:
    """Conditions that every row of `model.transform` meets, by constraint name."""
    if layout == "sparse":
        width = len(model.indexed_outputs())
        indices, values = (
            dialect.size.format(f"{SPARSE_COLUMN}.{part}") for part in ("indices", "values")
        )
        return {"sparse": f"{indices} = {values} AND {indices} <= {width}"}
    constraints = {}
    for fitted in model.features:
        limits = fitted.limits()
        if limits is not None:
            low, high = limits
            name = dialect.identifier(fitted.name)
            constraints[f"range_{fitted.name}"] = (
                f"{name} IS NULL OR {name} BETWEEN {low!r} AND {high!r}"
            )
    return constraints


def feature_properties(model: FeatureModel) -> dict[str, str]:
    """The table properties that name the fitted state of a feature table."""
    return {
        "matchlake.feature_set": model.name,
        "matchlake.feature_set_version": str(model.version),
    }


def set_rows(model: FeatureModel) -> list[tuple[object, ...]]:
    """The row of `gold.feature_sets` for this model."""
    return [(model.name, model.version, model.rows, model.to_json())]


def vocabulary_rows(model: FeatureModel) -> list[tuple[object, ...]]:
    """The rows of `gold.feature_vocabulary` for this model."""
    indices = {output.name: i for i, output in enumerate(model.indexed_outputs())}
    return [
        (
            model.name,
            model.version,
            position,
            indices[output.name],
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
    """The rows of `gold.feature_counts` from the counts of `FeatureModel.count_unknown`.

    They begin with the values of `mark`: the table's name, its version and the time.
    """
    parts = ("null", "below_min", "above_max", "unknown_category")
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
    """The newest model of the feature set `name` in `gold.feature_sets`; starts one Spark job."""
    states = sets.where(F.col("feature_set") == name).orderBy(F.desc("version")).limit(1)
    rows = states.select("state").collect()
    return FeatureModel.from_json(rows[0]["state"]) if rows else None


def unknown_keys(interactions: DataFrame, entities: DataFrame, key: str) -> DataFrame:
    """The number of interactions and of distinct keys with a `key` that `entities` lacks. Lazy.

    One row: interactions, keys.
    """
    missing = interactions.join(entities.select(key).distinct(), key, "left_anti")
    return missing.agg(F.count("*").alias("interactions"), F.count_distinct(key).alias("keys"))
