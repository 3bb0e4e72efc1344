"""Maps Spark's types to types of PostgreSQL."""

import re

from matchlake.errors import SchemaError

_TYPES = {
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "float": "real",
    "double": "double precision",
    "boolean": "boolean",
    "string": "text",
    "date": "date",
    "timestamp": "timestamptz",
    "timestamp_ntz": "timestamp",
    "binary": "bytea",
}
_NESTED = ("array<", "map<", "struct<")
KEY_TYPES = ("tinyint", "smallint", "int", "bigint", "string", "date", "timestamp")
"""The types of a key: their values have one text form, and the same order in every store."""


def postgres_type(name: str, spark_type: str) -> str:
    """Returns the PostgreSQL type of column `name`; raises SchemaError if there is none.

    Nested values become jsonb. In JSON, NaN and infinite numbers are strings.
    """
    if spark_type.startswith(_NESTED):
        return "jsonb"
    if re.fullmatch(r"(var)?char\(\d+\)", spark_type):
        return "text"
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", spark_type)
    if decimal:
        return f"numeric({decimal[1]}, {decimal[2]})"
    if spark_type not in _TYPES:
        raise SchemaError(
            f"Column {name} has the type {spark_type}, which PostgreSQL does not have. Leave it "
            "out with "
            "`columns` in conf (online.tables), or cast it in the job that writes the table. "
            f"Possible: {', '.join(_TYPES)}, decimal, array, map, struct."
        )
    return _TYPES[spark_type]
