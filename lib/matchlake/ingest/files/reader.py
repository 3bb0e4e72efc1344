"""Reads the rows of lake files once, and finds the files that cannot be read to their end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from matchlake.ingest.files.corruption import FAILED, OVERFLOW, REFUSED, Fault, Faults, fault_of
from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.files.headers import (
    ambiguous_columns,
    csv_header,
    expected_names,
    other_columns,
)
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.parquet import (
    ambiguous_names,
    declared_schema,
    file_schema,
    names_of,
    plain_fields,
    read_parquet,
    schema_by_footer,
)
from matchlake.ingest.files.parse import CORRUPT, VALUE, parse_rows
from matchlake.ingest.files.sizes import TextLimits
from matchlake.ingest.parse.bisect import bisect_failures
from matchlake.schemas import quote_identifier

Schemas = dict[LakeFile, StructType]
"""The declared fields of each Parquet file, in the types that it has."""


class Checked(NamedTuple):
    """What is known of files before their rows are read."""

    empty: set[LakeFile]
    faults: Faults
    """The files that are not loaded."""
    schemas: Schemas


class Parsed(NamedTuple):
    """The result of reading some files."""

    rows: DataFrame | None
    """The rows of `parse_rows`; None if no file is readable."""
    read: int
    """The number of rows that the reader gave."""
    faults: Faults


class _Readable(NamedTuple):
    """Rows that are read with the same types, and the declared columns of these rows."""

    rows: DataFrame
    fields: Mapping[str, Column]


@dataclass(frozen=True)
class LakeRows:
    """Reads files of one declared source; keeps the parsed rows in the folder `staging`."""

    name: str
    source: LakeSource
    spark: SparkSession = field(repr=False)
    staging: str
    limits: TextLimits

    def check(self, files: Sequence[LakeFile]) -> Checked:
        """The files without content, those that are not loaded, and the types of the others."""
        is_text = self.source.format != "parquet"
        checked = Checked(set(), self.limits.exceeded(files) if is_text else {}, {})
        for file in files:
            if file in checked.faults:
                continue
            try:
                self._check(file, checked)
            except FAILED as error:
                checked.faults[file] = fault_of(error)
        return checked

    def parse(self, files: Sequence[LakeFile], schemas: Schemas) -> Parsed:
        """The rows of all files but the faulty ones, in one pass per set of types.

        If that fails, it bisects the files until the faulty ones are found.
        """
        try:
            return self._stage(files, schemas, {})
        except FAILED as error:
            fault_of(error)
            if OVERFLOW in str(error) and (more := self._by_footer(schemas)) != schemas:
                return self.parse(files, more)
            faults = self._faults(files, schemas)
            if not faults:
                raise
        return self._stage([file for file in files if file not in faults], schemas, faults)

    def forget(self) -> None:
        """Deletes the staged copy of the parsed rows."""
        empty = self.spark.createDataFrame([], "nothing INT")
        empty.write.mode("overwrite").parquet(self.staging)

    def _by_footer(self, schemas: Schemas) -> Schemas:
        """The schemas by footer, with timestamps as numbers; unchanged if a footer is missing."""
        columns = self.source.in_rows
        try:
            return {file: schema_by_footer(self.spark, file, columns) for file in schemas}
        except ValueError:
            return schemas

    def _stage(self, files: Sequence[LakeFile], schemas: Schemas, faults: Faults) -> Parsed:
        if not files:
            return Parsed(None, 0, faults)
        read, schema = 0, StructType()
        for at, (rows, fields) in enumerate(self._read(files, schemas)):
            seen = Observation()
            observed = rows.observe(seen, F.count(F.lit(1)).alias("rows"))
            parsed = parse_rows(observed, self.source, fields)
            parsed.write.mode("append" if at else "overwrite").parquet(self.staging)
            read, schema = read + seen.get["rows"], parsed.schema
        return Parsed(self.spark.read.schema(schema).parquet(self.staging), read, faults)

    def _faults(self, files: Sequence[LakeFile], schemas: Schemas) -> Faults:
        faults: Faults = {}

        def passes(start: int, stop: int) -> bool:
            try:
                for rows, fields in self._read(files[start:stop], schemas):
                    read = rows.select(*(f.alias(name) for name, f in fields.items()))
                    read.agg(F.bit_xor(F.xxhash64(*read.columns))).collect()
            except FAILED as error:
                faults[files[start]] = fault_of(error)
                return False
            return True

        return {files[at]: faults[files[at]] for at in bisect_failures(len(files), passes)}

    def _check(self, file: LakeFile, checked: Checked) -> None:
        """Adds what is known of one file to the result."""
        source = self.source
        names: list[str] = []
        if file.size and source.format == "parquet":
            schema = file_schema(self.spark, file)
            names = list(names_of(schema))
            if unclear := ambiguous_names(schema, source.in_rows):
                checked.faults[file] = Fault(REFUSED, ambiguous_columns(unclear, self.name))
                return
        elif file.size and source.format == "csv" and source.csv.header:
            names = csv_header(self.spark, file.path, source, self._dialect())
        elif file.size:
            return
        if not names:
            checked.empty.add(file)
        elif not self._are_declared(names):
            checked.faults[file] = Fault(REFUSED, other_columns(names, source, self.name))
        elif source.format == "parquet":
            checked.schemas[file] = declared_schema(self.spark, file, schema, source.in_rows)

    def _are_declared(self, found: list[str]) -> bool:
        expected = expected_names(self.source)
        return found == expected if self.source.format == "csv" else set(expected) <= set(found)

    def _read(self, files: Sequence[LakeFile], schemas: Schemas) -> Iterator[_Readable]:
        """The rows of the files, in one frame per set of types."""
        if self.source.format != "parquet":
            yield self._read_text([file.path for file in files])
            return
        alike: dict[str, list[LakeFile]] = {}
        for file in files:
            alike.setdefault(schemas[file].json(), []).append(file)
        for some in alike.values():
            schema = schemas[some[0]]
            rows = read_parquet(self.spark, some, schema)
            yield _Readable(rows, plain_fields(schema, self.source.in_rows))

    def _read_text(self, paths: list[str]) -> _Readable:
        if self.source.format == "json":
            lines = self.spark.read.text(paths).where(f"trim({VALUE}) != ''")
            return _Readable(lines, {VALUE: F.col(VALUE)})
        csv, names = self.source.csv, expected_names(self.source)
        read_as = [csv.as_read(name) for name in names]
        if len({name.lower() for name in (*read_as, CORRUPT)}) <= len(names):
            # Spark finds fields by position, and refuses names that differ by case alone.
            read_as = [f"_{at}" for at in range(len(names))]
        schema = StructType()
        for name in (*read_as, CORRUPT):
            schema = schema.add(name, StringType())
        rows = self.spark.read.csv(
            paths, schema, columnNameOfCorruptRecord=CORRUPT, **self._dialect()
        )
        fields = [F.col(quote_identifier(name)) for name in read_as]
        if csv.multiline and csv.codec == "utf-8" and not csv.header:
            mark = csv.as_read("\ufeff")  # Spark removes it from lines, not from files
            fields[0] = F.regexp_replace(fields[0], f"^{mark}", "")
        return _Readable(rows, dict(zip(self.source.in_rows, fields, strict=True)))

    def _dialect(self) -> dict[str, Any]:
        csv = self.source.csv
        return {
            **csv.row_options,
            "header": csv.header,
            "encoding": csv.read_as,
            "nullValue": csv.as_read(csv.null_value),
            "multiLine": csv.multiline,
            "maxCharsPerColumn": self.limits.max_line_bytes,
        }
