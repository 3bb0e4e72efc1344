"""The rows of a model of conf: reads them at one version, splits them, and makes arrays."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError, SchemaError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.model import FeatureModel
from matchlake.io.delta import Lakehouse
from matchlake.learners.registry import learner_of
from matchlake.schemas import quote_identifier
from matchlake.training.model_params import ModelParams, ModelSplitParams

_log = logging.getLogger(__name__)

LABEL = "matchlake label"
"""The name of the label's column; conf does not allow this name."""
_BUCKETS = 1 << 32
_DOUBLE = 8
_COPIES = 4
"""The number of copies of the features in memory: as Arrow, as a matrix, and in the estimator."""
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ModelRows:
    """The labelled rows of a model, at one version of their table, in two parts."""

    version: int
    train: DataFrame
    test: DataFrame
    count: int
    """The number of rows of both parts."""
    left_out: int
    """The number of rows without a label, or without a value in the column of the split."""


def read_rows(
    lake: Lakehouse,
    name: str,
    params: ModelParams,
    features: FeatureSet,
    version: int | None = None,
) -> ModelRows:
    """Reads and splits the rows; lazy, except for a job that counts them, and a job for times.

    It reads `version` of the table, or its newest version. Raises SchemaError for missing columns,
    and InputError for too many rows, or for no rows.
    """
    version = lake.version(params.rows) if version is None else version
    frame = lake.read(params.rows, version)
    read = [features.column(each) for each in features.features]
    required = [each for each in (params.label, params.split.column) if each]
    needed = [*params.keys, *read, *required]
    missing = [each for each in dict.fromkeys(needed) if each not in frame.columns]
    if missing:
        where = f"{params.rows}, which models.{name} reads"
        raise SchemaError.missing(where, missing, frame.columns)
    usable = F.lit(True)  # noqa: FBT003 - a condition, not a flag
    for column in required:
        usable = usable & _is_present(frame, column)
    total, count = frame.agg(F.count("*"), F.count_if(usable)).collect()[0]
    _require_size(name, params, count, total)
    rows = frame.where(usable).withColumn(LABEL, _label(frame, name, params))
    if count < total:
        _log.warning(
            "models.%s: %d of %d rows are left out because they have no value of %s",
            *(name, total - count, total, " or ".join(required)),
        )
    is_test = _test_condition(rows, params.split, params.keys)
    test = _at_most(rows.where(is_test), count * params.split.test_fraction, name, params, "test")
    return ModelRows(version, rows.where(~is_test), test, count, total - count)


def _at_most(
    rows: DataFrame, expected: float, name: str, params: ModelParams, part: str
) -> DataFrame:
    """Samples about `max_rows` rows for the driver, if more rows are expected."""
    if expected <= params.max_rows:  # this is always true unless the training part stays in Spark
        return rows
    _log.info("models.%s: about %d of %d %s rows are used", name, params.max_rows, expected, part)
    drawn = _bucket(params.split.seed, params.keys, part)
    return rows.where(drawn < int(params.max_rows / expected * _BUCKETS))


def with_label(frame: DataFrame, name: str, params: ModelParams) -> DataFrame:
    """Adds the label as `LABEL`; null if the column is missing or has no value."""
    known = params.label is not None and params.label in frame.columns
    label = _label(frame, name, params) if known else F.lit(None).cast("double")
    return frame.withColumn(LABEL, label)


def _is_present(frame: DataFrame, column: str) -> Column:
    value = F.col(quote_identifier(column))
    is_floating = dict(frame.dtypes)[column] in ("float", "double")
    return value.isNotNull() & ~F.isnan(value) if is_floating else value.isNotNull()


def _label(frame: DataFrame, name: str, params: ModelParams) -> Column:
    """Returns the label: a class as a string, a number as a double, or null for a clustering."""
    if params.label is None:
        return F.lit(None).cast("double")
    column, kind = F.col(quote_identifier(params.label)), dict(frame.dtypes)[params.label]
    is_fractional = kind in ("float", "double") or kind.startswith("decimal")
    if params.task == "classification" and is_fractional:
        raise InputError(
            f"models.{name}: the label {params.label} is {kind}, which is not a class. Choose the "
            "task regression, or convert the label to integers or strings in a view."
        )
    is_number = is_fractional or kind in ("tinyint", "smallint", "int", "bigint", "boolean")
    if params.task == "regression" and not is_number:
        raise InputError(
            f"models.{name}: the label {params.label} is {kind}, but a regression needs a number. "
            "Choose the task classification, or another label."
        )
    return column.cast("string" if params.task == "classification" else "double")


def _require_size(name: str, params: ModelParams, count: int, total: int) -> None:
    """Raises InputError for no rows, and for more than `max_rows` rows."""
    if not count:
        column = params.label or params.split.column or "rows"
        raise InputError(
            f"models.{name}: {params.rows} has {total} rows, but none of them has a value of "
            f"{column}. Check this column, and the job that writes the table."
        )
    if count > params.max_rows and not learner_of(params.trainer.kind).on_cluster:
        raise InputError(
            f"models.{name}: {params.rows} has {count:,} rows, but models.{name}.max_rows allows "
            f"{params.max_rows:,}. Use a view with fewer rows, raise max_rows if the driver has "
            "the memory, or fit on the cluster: trainer.kind spark."
        )


def require_memory(name: str, params: ModelParams, model: FeatureModel, rows: int) -> None:
    """Raises InputError if the features of `rows` rows do not fit into `memory_mb`."""
    columns = len(model.outputs())
    need = -(-rows * columns * _DOUBLE * _COPIES // _MEBIBYTE)
    if need > params.memory_mb:
        raise InputError(
            f"models.{name}: {rows:,} rows with {columns} feature columns need about {need:,} MB, "
            f"but models.{name}.memory_mb allows {params.memory_mb:,}. Use fewer rows or columns "
            "(max_categories of a feature), or raise memory_mb if the driver has the memory."
        )


def validation_rows(
    rows: ModelRows, name: str, params: ModelParams, fraction: float
) -> tuple[DataFrame, DataFrame]:
    """Splits a validation part off the training part; one job for a split by time.

    Returns the smaller training part and the validation part. The split is like that of the test
    part, with another seed.
    """
    again = {"test_fraction": fraction, "seed": params.split.seed + 1}
    split = params.split.model_copy(update=again)
    is_validation = _test_condition(rows.train, split, params.keys)
    expected = rows.count * (1 - params.split.test_fraction) * fraction
    validation = _at_most(rows.train.where(is_validation), expected, name, params, "validation")
    return rows.train.where(~is_validation), validation


def _test_condition(rows: DataFrame, split: ModelSplitParams, keys: Sequence[str]) -> Column:
    """Returns whether a row is in the test part. Only for `time` this depends on other rows."""
    if split.kind == "time":
        return F.col(quote_identifier(split.column or "")) > F.lit(cutoff(rows, split))
    names = [split.column or ""] if split.kind == "group" else keys
    return _bucket(split.seed, names) < int(split.test_fraction * _BUCKETS)


def _bucket(seed: int, names: Sequence[str], *more: str) -> Column:
    """Returns a hash of the columns `names`, below _BUCKETS."""
    texts = [F.col(quote_identifier(each)).cast("string") for each in names]
    extra = [F.lit(each) for each in more]
    return F.pmod(F.xxhash64(F.lit(seed), *texts, *extra), F.lit(_BUCKETS))


def cutoff(rows: DataFrame, split: ModelSplitParams) -> Any:
    """Returns the last time of the training part; one Spark job."""
    time = F.col(quote_identifier(split.column or ""))
    accuracy = 1_000_000
    return rows.agg(F.percentile_approx(time, 1 - split.test_fraction, accuracy)).collect()[0][0]


def training_arrays(
    model: FeatureModel, train: DataFrame, keys: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any] | None]:
    """Returns the features of a training part as a matrix, NaN for null, and the labels.

    Rows are in the order of their keys, so that a fit does not depend on partitions. One Spark job.
    """
    with_label = model.model_copy(update={"keys": (*keys, LABEL)})
    table = with_label.transform(train).toArrow().sort_by([(key, "ascending") for key in keys])
    names = [output.name for output in model.outputs()]
    matrix = np.empty((table.num_rows, len(names)))
    for i, name in enumerate(names):
        matrix[:, i] = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    label = table[LABEL]
    is_known = label.null_count < len(label)
    return matrix, label.to_numpy(zero_copy_only=False) if is_known else None


def test_rows(test: DataFrame, keys: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Reads the keys, labels and columns of the test part, in the order of the keys.

    One Spark job.
    """
    names = list(dict.fromkeys([*keys, *columns, LABEL]))
    table = test.select(*map(quote_identifier, names)).toArrow()
    rows: pd.DataFrame = table.sort_by([(key, "ascending") for key in keys]).to_pandas()
    return rows
