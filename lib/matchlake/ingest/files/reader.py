"""Reads the rows of lake files once, and finds the files that cannot be read to their end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from matchlake.errors import SchemaError
from matchlake.ingest.files.corruption import FAILED, Corrupt, corruption
from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.parse import CORRUPT, VALUE, parse_rows
from matchlake.ingest.files.sizes import TextLimits
from matchlake.ingest.parse.bisect import bisect_failures


class Unreadable(NamedTuple):
    """Files without rows to parse."""

    empty: set[LakeFile]
    corrupt: Corrupt


class Parsed(NamedTuple):
    """The result of reading some files."""

    rows: DataFrame | None
    """The rows of `parse_rows`; None if all files are corrupt."""
    read: int
    """The number of rows that the reader gave."""
    corrupt: Corrupt


@dataclass(frozen=True)
class LakeRows:
    """Reads files of one declared source; keeps the parsed rows in the folder `staging`."""

    name: str
    source: LakeSource
    spark: SparkSession = field(repr=False)
    staging: str
    limits: TextLimits

    def check(self, files: Sequence[LakeFile]) -> Unreadable:
        """The files without content, those above a limit, and those with unreadable first bytes.

        Raises:
            SchemaError: a file has other columns than declared.
        """
        is_text = self.source.format != "parquet"
        unreadable = Unreadable(set(), self.limits.exceeded(files) if is_text else {})
        for file in files:
            if file in unreadable.corrupt:
                continue
            try:
                columns = self._columns(file) if file.size else []
            except FAILED as error:
                unreadable.corrupt[file] = corruption(error)
                continue
            if columns == []:
                unreadable.empty.add(file)
            elif columns is not None:
                self._require_declared(file, columns)
        return unreadable

    def parse(self, files: Sequence[LakeFile]) -> Parsed:
        """The rows of all files but the corrupt ones, in one pass.

        Only if that fails, it bisects the files until the corrupt ones are found.
        """
        try:
            return self._stage(files, Corrupt())
        except FAILED as error:
            corruption(error)
            corrupt = self._corrupt(files)
            if not corrupt:
                raise
        return self._stage([file for file in files if file not in corrupt], corrupt)

    def forget(self) -> None:
        """Deletes the staged copy of the parsed rows."""
        empty = self.spark.createDataFrame([], "nothing INT")
        empty.write.mode("overwrite").parquet(self.staging)

    def _stage(self, files: Sequence[LakeFile], corrupt: Corrupt) -> Parsed:
        if not files:
            return Parsed(None, 0, corrupt)
        seen = Observation()
        read = self._read(files).observe(seen, F.count(F.lit(1)).alias("rows"))
        parsed = parse_rows(read, self.source)
        parsed.write.mode("overwrite").parquet(self.staging)
        rows = self.spark.read.schema(parsed.schema).parquet(self.staging)
        return Parsed(rows, seen.get["rows"], corrupt)

    def _corrupt(self, files: Sequence[LakeFile]) -> Corrupt:
        corrupt = Corrupt()

        def passes(start: int, stop: int) -> bool:
            read = self._read(files[start:stop])
            try:
                read.agg(F.bit_xor(F.xxhash64(*read.columns))).collect()
            except FAILED as error:
                corrupt[files[start]] = corruption(error)
                return False
            return True

        return {files[at]: corrupt[files[at]] for at in bisect_failures(len(files), passes)}

    def _columns(self, file: LakeFile) -> list[str] | None:
        """The columns of a file; None if only its rows have them."""
        match self.source.format:
            case "parquet":
                return list(_fields(self.spark.read.parquet(file.path).schema))
            case "csv" if self.source.format_options.header:
                return self.spark.read.csv(file.path, **self._dialect()).columns
        return None

    def _require_declared(self, file: LakeFile, found: list[str]) -> None:
        expected = [column.path or name for name, column in self.source.in_rows.items()]
        is_csv = self.source.format == "csv"
        if found != expected if is_csv else not set(expected) <= set(found):
            raise SchemaError(
                f"{file.file} has the columns {', '.join(found)}, but conf declares "
                f"{', '.join(expected)}. Nothing was loaded into {self.source.table}. Correct "
                f"the file, or declare its columns in lake.sources.{self.name}."
            )

    def _read(self, files: Sequence[LakeFile]) -> DataFrame:
        paths = [file.path for file in files]
        match self.source.format:
            case "json":
                return self.spark.read.text(paths).where(f"trim({VALUE}) != ''")
            case "parquet":
                return self.spark.read.parquet(*paths)
        fields = StructType()
        for name, column in self.source.in_rows.items():
            fields = fields.add(column.path or name, StringType())
        return self.spark.read.csv(
            paths,
            fields.add(CORRUPT, StringType()),
            columnNameOfCorruptRecord=CORRUPT,
            **self._dialect(),
        )

    def _dialect(self) -> dict[str, Any]:
        options = self.source.format_options
        return {
            "sep": options.separator,
            "quote": options.quote,
            "escape": options.escape,
            "header": options.header,
            "encoding": options.encoding,
            "nullValue": options.null_value,
            "multiLine": options.multiline,
            "maxCharsPerColumn": self.limits.max_line_bytes,
        }


def _fields(schema: StructType, within: str = "") -> Iterator[str]:
    """The names of all fields; those within a struct after its name and a dot."""
    for field_ in schema:
        yield within + field_.name
        if isinstance(field_.dataType, StructType):
            yield from _fields(field_.dataType, f"{within}{field_.name}.")
