"""Declared tables as Spark schemas and Delta properties."""

from typing import cast

from pyspark.sql import DataFrame
from pyspark.sql.types import StructField, StructType

from matchlake.schemas import TableSpec, quote_identifier, quote_text

CHANGES = "delta.enableChangeDataFeed"
"""The property of tables for which Delta keeps the changes of each commit."""
STATISTICS = "delta.dataSkippingStatsColumns"
"""The property with the columns for which Delta keeps the minimum and maximum of each file."""


def struct_type(spec: TableSpec) -> StructType:
    """The Spark schema of a declared table: names, types and nullability."""
    return cast("StructType", StructType.fromDDL(spec.ddl))


def typed_rows(frame: DataFrame, spec: TableSpec) -> DataFrame:
    """The columns of `spec` in its types, because Delta 4.0 widens no type in a write. Lazy.

    Nulls are allowed here: the table refuses them, not the plan.
    """
    return frame.select(spec.column_names).to(nullable_type(spec))


def nullable_type(spec: TableSpec) -> StructType:
    """The Spark schema of a declared table with nulls in every column."""
    fields = [StructField(f.name, f.dataType, metadata=f.metadata) for f in struct_type(spec)]
    return StructType(fields)


def table_properties(spec: TableSpec) -> str:
    """The TBLPROPERTIES clause of a declared table; empty without any."""
    properties = {CHANGES: "true"} if spec.changes else {}
    if spec.statistics:
        properties[STATISTICS] = ",".join(map(quote_identifier, spec.statistics))
    pairs = ", ".join(f"'{key}' = {quote_text(value)}" for key, value in properties.items())
    return f" TBLPROPERTIES ({pairs})" if pairs else ""


def shape_differences(found: StructType, declared: StructType, *, extra: bool = True) -> list[str]:
    """The differences in words: missing columns and other types.

    Columns that are not declared are differences too, unless `extra` is true.
    """
    types = {each.name: each.dataType.simpleString() for each in found}
    problems = []
    for field in declared:
        kind = field.dataType.simpleString()
        if field.name not in types:
            problems.append(f"column {field.name} ({kind}) is missing")
        elif types[field.name] != kind:
            problems.append(f"column {field.name} is {types[field.name]}, declared {kind}")
    if not extra:
        problems += [
            f"column {name} is not declared" for name in types if name not in declared.names
        ]
    return problems
