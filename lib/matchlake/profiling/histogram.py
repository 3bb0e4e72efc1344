"""Counts of a table's values in fine cells, from one pass, that merge into any histogram.

The width of a histogram's bins depends on the range, which is known only after the pass. So the
pass counts cells. The cell of a number x starts at `floor(x / u) * u`. The unit u is the power of
two that splits the octave of x into 4,096 cells. A bin starts at a multiple of its width,
which is a power of two and at least u. Each cell then lies in exactly one bin, so that merged
cells give exact counts.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    IntegralType,
    NumericType,
    StringType,
    TimestampType,
)

from matchlake.errors import SchemaError

_OCTAVE_BITS = 12
_SMALLEST = -1060
_INFINITY = float("inf")
_TIMES = (DateType, TimestampType)
_TEXTS = (StringType, BooleanType, *_TIMES)


def count_cells(frame: DataFrame, columns: Sequence[str] | None = None) -> DataFrame:
    """The rows of each cell and each category of each column. Lazy.

    Gives column_name, kind, cell and unit (double), category, rows. `kind` is histogram for finite
    numbers, timeline for days and times, bar for strings, booleans and the elements of lists, null,
    or not_finite. The cell of a time is its day, counted from 1970-01-01.
    Columns of other types are left out; if `columns` names one, SchemaError is raised.
    """
    entries = [
        _entries(field.name, field.dataType)
        for field in frame.schema
        if (columns is None or field.name in columns) and _is_countable(field.dataType)
    ]
    _check(frame, columns)
    exploded = frame.select(F.explode(F.concat(*entries)).alias("entry")).select("entry.*")
    return exploded.groupBy("column_name", "kind", "cell", "unit", "category").agg(
        F.count(F.lit(1)).alias("rows")
    )


def bin_width(units: Column, lowest: Column, highest: Column, bins: int) -> Column:
    """The bin width, a power of two: it gives about `bins` bins, and is at least `units`.

    `lowest` and `highest` are the first and the last cell.
    """
    width = F.pow(F.lit(2.0), F.ceil(F.log2(highest / bins - lowest / bins)))
    return F.greatest(units, F.coalesce(width, units))


def _check(frame: DataFrame, columns: Sequence[str] | None) -> None:
    types = {field.name: field.dataType for field in frame.schema}
    unsupported = [name for name in columns or () if not _is_countable(types.get(name))]
    possible = [name for name, kind in types.items() if _is_countable(kind)]
    if unsupported or not possible:
        raise SchemaError(
            f"{', '.join(unsupported) or 'The table'} cannot be profiled. Columns that can: "
            f"{', '.join(possible) or 'none'}."
        )


def _is_countable(kind: DataType | None) -> bool:
    if isinstance(kind, ArrayType):
        return isinstance(kind.elementType, _TEXTS)
    return isinstance(kind, (NumericType, *_TEXTS))


def _entries(name: str, kind: DataType) -> Column:
    """An array of one entry, or of one entry per distinct element of a list."""
    column = F.col("`" + name.replace("`", "``") + "`")
    if isinstance(kind, ArrayType):
        texts = F.array_distinct(F.array_compact(column.cast("array<string>")))
        entries = F.transform(texts, lambda text: _entry(name, "bar", category=text))
        return F.coalesce(entries, F.array(_entry(name, "null")))
    if isinstance(kind, NumericType):
        unit = F.lit(1.0) if isinstance(kind, IntegralType) else None
        return F.array(_number_entry(name, column.cast("double"), unit))
    if isinstance(kind, _TIMES):
        value = _entry(name, "timeline", F.unix_date(column.cast("date")), F.lit(1.0))
    else:
        value = _entry(name, "bar", category=column.cast("string"))
    return F.array(F.when(column.isNull(), _entry(name, "null")).otherwise(value))


def _number_entry(name: str, value: Column, minimum: Column | None) -> Column:
    octave = F.floor(F.log2(F.abs(value))) - _OCTAVE_BITS
    unit = F.pow(F.lit(2.0), F.greatest(F.coalesce(octave, F.lit(_SMALLEST)), F.lit(_SMALLEST)))
    unit = unit if minimum is None else F.greatest(unit, minimum)
    histogram = _entry(name, "histogram", cell=F.floor(value / unit) * unit, unit=unit)
    return (
        F.when(F.abs(value) < _INFINITY, histogram)
        .when(value.isNull(), _entry(name, "null"))
        .otherwise(_entry(name, "not_finite"))
    )


def _entry(
    name: str,
    kind: str,
    cell: Column | None = None,
    unit: Column | None = None,
    category: Column | None = None,
) -> Column:
    none = F.lit(None)
    return F.struct(
        F.lit(name).alias("column_name"),
        F.lit(kind).alias("kind"),
        (none.cast("double") if cell is None else cell.cast("double")).alias("cell"),
        (none.cast("double") if unit is None else unit).alias("unit"),
        (none.cast("string") if category is None else category).alias("category"),
    )
