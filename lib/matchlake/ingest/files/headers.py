"""The names in the headers of files, and how they differ from the declared ones."""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from matchlake.ingest.files.params import LakeSource


def csv_header(
    spark: SparkSession, path: str, source: LakeSource, options: dict[str, Any]
) -> list[str]:
    """The names of the first row as the file has them; `options` are those of Spark's reader.

    Spark renames a name that occurs twice, so a header that differs is read again as a row.
    """
    csv = source.csv
    names: list[str | None] = list(spark.read.csv(path, **options).columns)
    if names and names != [csv.as_read(name) for name in expected_names(source)]:
        first = spark.read.csv(path, **options | {"header": False}).first()
        names = list(first or [])
    codec = csv.codec
    if codec is None:
        return [name or "" for name in names]
    texts = [(name or "").encode(csv.read_as).decode(codec, "replace") for name in names]
    return [texts[0].removeprefix("\ufeff"), *texts[1:]] if texts else []


def expected_names(source: LakeSource) -> list[str]:
    """The names that a file has to have, in declared order."""
    return [column.path or name for name, column in source.in_rows.items()]


def other_columns(found: Sequence[str], source: LakeSource, name: str) -> str:
    """The reason to refuse a file with other columns than declared."""
    expected = _quoted(expected_names(source))
    return (
        f"it has the columns {_quoted(found)}, but conf declares {expected}. "
        f"Correct the file, or declare its columns in lake.sources.{name}."
    )


def ambiguous_columns(found: Sequence[str], name: str) -> str:
    """The reason to refuse a Parquet file whose column names differ only by case."""
    return (
        f"it has the columns {_quoted(found)}, which Spark cannot tell apart. Rename them in the "
        f"file, or do not declare them in lake.sources.{name}."
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
