"""A table that DuckDB reads from Parquet files, and whether it gives the same numbers as Spark."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matchlake.features.feature_set import FeatureSet
from matchlake.features.requests import NumberRequest
from matchlake.formulas.sql import DUCKDB

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TYPES = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_EXACT_DIGITS = 15
"""Decimals with at most this many digits become the nearest double in every engine."""


@dataclass(frozen=True)
class DuckTable:
    """The columns of Parquet files that DuckDB reads, by name, with Spark's names of their types.

    A column that a file lacks is null in its rows.
    """

    engine: "DuckDBPyConnection" = field(repr=False)
    files: Sequence[str] = field(repr=False)
    types: Mapping[str, str]

    @property
    def relation(self) -> str:
        """Returns SQL for FROM: a subquery with the columns in their types."""
        there, texts = self._columns_of_files(), []
        for name, kind in self.types.items():
            column = DUCKDB.identifier(name)
            value = column if name in there else "NULL"
            texts.append(f"CAST({value} AS {duckdb_type(kind)}) AS {column}")
        if not self.files:
            return f"(SELECT {', '.join(texts)} WHERE FALSE)"
        return f"(SELECT {', '.join(texts)} FROM {self._read})"

    def _columns_of_files(self) -> set[str]:
        if not self.files:
            return set()
        return {row[0] for row in self.engine.execute(f"DESCRIBE FROM {self._read}").fetchall()}

    @property
    def _read(self) -> str:
        files = ", ".join(map(DUCKDB.text, self.files))
        return f"read_parquet([{files}], union_by_name=true, hive_partitioning=false)"


def duckdb_type(kind: str) -> str | None:
    """DuckDB's name of a column type, from Spark's; None for a type that is not translated."""
    if kind.startswith("array<") and kind.endswith(">"):
        element = duckdb_type(kind[6:-1])
        return f"{element}[]" if element else None
    return kind.upper() if _DECIMAL.fullmatch(kind) else _TYPES.get(kind)


def duckdb_limit(features: FeatureSet, types: Mapping[str, str], *, fits: bool) -> str | None:
    """Why DuckDB cannot give the rows that Spark gives, by column and kind; None if it can.

    `types` are those of the table, as Spark names them; `fits` says whether a fit comes first.
    """
    for key in features.keys:
        if duckdb_type(types.get(key, "string")) is None:
            return f"key {key} is {types[key]}"
    for name, feature in features.features.items():
        column = features.column(name)
        kind = types.get(column, "string")
        decimal = _DECIMAL.fullmatch(kind)
        where = f"feature {name} ({feature.kind}) of column {column}"
        if duckdb_type(kind) is None:
            return f"{where} reads a {kind}"
        if decimal and int(decimal[1]) > _EXACT_DIGITS:
            return f"{where} reads a {kind}, and more than {_EXACT_DIGITS} digits round differently"
        request = feature.request(column, ())
        if fits and isinstance(request, NumberRequest) and request.quantiles:
            return f"{where} needs quantiles, which Spark approximates"
    return None
