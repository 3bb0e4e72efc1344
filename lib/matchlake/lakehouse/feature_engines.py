"""The engines that build a feature table: Spark for every table, DuckDB for local files.

Both give the same fitted state and the same rows. Tables, constraints and properties are Spark's.
"""

import logging
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from matchlake.errors import EngineError, InputError, TableError
from matchlake.features.duckdb_table import DuckTable, duckdb_limit, duckdb_type
from matchlake.features.feature_set import FeatureSet
from matchlake.features.feature_tables import feature_constraints, feature_rows
from matchlake.features.fit import fit_features
from matchlake.features.index_layouts import SPARSE_TYPE
from matchlake.features.model import FeatureModel
from matchlake.features.params import FeatureTable
from matchlake.formulas.sql import DUCKDB
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_files import (
    DeltaFiles,
    NewFile,
    can_open,
    open_files,
    overwrite_files,
    remove_files,
)
from matchlake.io.delta_properties import undeclared_constraints
from matchlake.io.delta_schema import nullable_type, shape_differences, struct_type
from matchlake.io.telemetry import step
from matchlake.schemas import Column, TableSpec

_log = logging.getLogger(__name__)

_LARGEST = 50_000_000_000
"""`auto` chooses DuckDB up to this size of the source, in bytes: one process reads all files."""
_SPARSE = 'STRUCT(indices INTEGER[], "values" DOUBLE[])'
_FILE = "256MB"


class Engine(Protocol):
    """What fits a feature set on its source, and writes and counts the rows."""

    @property
    def schema(self) -> StructType:
        """The schema of the source."""

    def fit(self, features: FeatureSet, previous: FeatureModel | None) -> FeatureModel:
        """Returns the fitted set."""

    def replace(self, model: FeatureModel, params: FeatureTable, spec: TableSpec) -> None:
        """Replaces the rows of the feature table, which exists, in one commit."""

    def count_unknown(self, model: FeatureModel) -> dict[str, int]:
        """Returns the counts of `FeatureModel.count_unknown`."""


@dataclass(frozen=True)
class SparkEngine:
    """Spark, over a frame of the source."""

    lake: Lakehouse
    source: DataFrame

    @property
    def schema(self) -> StructType:
        """The schema of the source."""
        return self.source.schema

    def fit(self, features: FeatureSet, previous: FeatureModel | None) -> FeatureModel:
        """Returns the fitted set; one query."""
        return fit_features(self.source, features, previous)

    def replace(self, model: FeatureModel, params: FeatureTable, spec: TableSpec) -> None:
        """Replaces the rows; Delta checks the constraints of the table."""
        self.lake.replace(feature_rows(model, params, self.source), spec)

    def count_unknown(self, model: FeatureModel) -> dict[str, int]:
        """Returns the counts; one Spark job."""
        return model.count_unknown(self.source).collect()[0].asDict()


@dataclass(frozen=True)
class DuckdbEngine:
    """DuckDB, over the files of the source at one version."""

    lake: Lakehouse
    table: DuckTable
    schema: StructType = field(repr=False)

    def fit(self, features: FeatureSet, previous: FeatureModel | None) -> FeatureModel:
        """Returns the fitted set; one query."""
        return fit_features(self.table, features, previous)

    def count_unknown(self, model: FeatureModel) -> dict[str, int]:
        """Returns the counts; one query."""
        counts = ", ".join(model.sql_counts(DUCKDB))
        found = self.table.engine.execute(f"SELECT {counts} FROM {self.table.relation}")
        names = [column[0] for column in found.description or ()]
        return dict(zip(names, found.fetchone() or (), strict=True))

    def replace(self, model: FeatureModel, params: FeatureTable, spec: TableSpec) -> None:
        """Replaces the rows by new files; checks the constraints of the table before the commit.

        Raises EngineError for a table that only Spark can overwrite, TableError for rows that
        the table does not allow. Nothing is replaced then.
        """
        target = open_files(self.lake, spec.name)
        target.require("overwrite")
        _require_checkable(target, feature_constraints(model, params.layout))
        if target.partition_by != spec.partition_by:
            raise EngineError(f"the partitions of {spec.name} change")
        prefix = f"part-{uuid.uuid4().hex}-"
        try:
            with step(f"replace {spec.name}"):
                new = self._write(self._rows(model, params, spec), spec, target, prefix)
                schema = _schema_after(target, spec)
                _check_nulls(new, schema, spec)
                self._check_constraints(model, params, new)
                overwrite_files(target, new, schema.json(), spec.statistics)
        except BaseException:
            remove_files(target, prefix)
            raise

    def _rows(self, model: FeatureModel, params: FeatureTable, spec: TableSpec) -> str:
        """Returns the query of the rows, with the columns of `spec` and without erased users."""
        if params.split_by:
            self._check_partitions(params, self.table.types[params.split_by])
        query = model.to_sql(self._kept(spec), "duckdb", params.layout)
        return f"SELECT {', '.join(map(_typed, spec.columns))} FROM ({query})"

    def _check_partitions(self, params: FeatureTable, kind: str) -> None:
        if kind not in (*_SAME_TEXT, "date"):
            raise EngineError(f"split_by {params.split_by} is {kind}")
        if kind != "string":
            return
        key = DUCKDB.identifier(params.split_by or "")
        query = f"SELECT 1 FROM {self.table.relation} WHERE {key} = '' LIMIT 1"
        if self.table.engine.execute(query).fetchall():
            raise InputError(
                f"{params.table}: split_by {params.split_by} has an empty string, which would "
                "become a null"
            )

    def _kept(self, spec: TableSpec) -> str:
        """The source without the rows of erased users."""
        erased = self.lake.erased_users() if spec.user_columns else None
        relation, engine = self.table.relation, self.table.engine
        if erased is None:
            return relation
        conditions = []
        for number, name in enumerate(spec.user_columns):
            if self.table.types[name] not in _SAME_TEXT:
                raise EngineError(f"{name} is {self.table.types[name]}, and users were erased")
            text = f"CAST({DUCKDB.identifier(name)} AS VARCHAR)"
            ids = engine.execute(f"SELECT DISTINCT {text} AS id FROM {relation}").fetchall()
            gone = [(each,) for (each,) in ids if each is not None and erased.has(each)]
            engine.execute(f"CREATE OR REPLACE TEMP TABLE erased_{number} (id VARCHAR)")
            if gone:
                engine.executemany(f"INSERT INTO erased_{number} VALUES (?)", gone)
            conditions.append(f"COALESCE({text} IN (FROM erased_{number}), FALSE)")
        return f"(SELECT * FROM {relation} WHERE NOT ({' OR '.join(conditions)}))"

    def _write(self, query: str, spec: TableSpec, target: DeltaFiles, prefix: str) -> list[NewFile]:
        """Writes the rows as files into the table's folder; no commit names them yet."""
        options = ["FORMAT parquet", "RETURN_STATS", "APPEND"]
        options.append(f"FILENAME_PATTERN '{prefix}{{uuid}}'")
        if spec.partition_by:
            names = ", ".join(map(DUCKDB.identifier, spec.partition_by))
            options.append(f"PARTITION_BY ({names})")
        else:
            options.append(f"FILE_SIZE_BYTES '{_FILE}'")
        place = DUCKDB.text(target.folder)
        written = self.table.engine.execute(f"COPY ({query}) TO {place} ({', '.join(options)})")
        return [_new_file(row, spec) for row in written.fetchall() if row[1]]

    def _check_constraints(
        self, model: FeatureModel, params: FeatureTable, new: list[NewFile]
    ) -> None:
        constraints = feature_constraints(model, params.layout, DUCKDB)
        if not constraints or not new:
            return
        files = ", ".join(DUCKDB.text(file.path) for file in new)
        counts = ", ".join(
            f"count_if(NOT COALESCE({condition}, FALSE))" for condition in constraints.values()
        )
        query = f"SELECT {counts} FROM read_parquet([{files}], hive_partitioning=false)"
        found = self.table.engine.execute(query).fetchone() or ()
        broken = [name for name, rows in zip(constraints, found, strict=True) if rows]
        if broken:
            raise TableError(
                f"{params.table} would have rows that break {', '.join(broken)}. Nothing was "
                "written."
            )


_SAME_TEXT = ("string", "tinyint", "smallint", "int", "bigint", "boolean")
"""Types of ids whose texts, which are hashed, are the same in Spark and in DuckDB."""


@contextmanager
def duckdb_engine(
    lake: Lakehouse, params: FeatureTable, *, fits: bool, automatic: bool
) -> Iterator[DuckdbEngine]:
    """DuckDB over the source of a feature table, for one build.

    Raises EngineError if DuckDB does not see the tables, or cannot give Spark's rows, and for an
    `automatic` choice also if the files are too many for one process.
    """
    reason = can_open()
    if reason is not None:
        raise EngineError(reason)
    source = open_files(lake, params.source)
    source.require("read")
    if lake.exists(params.table):  # Known before the fit, so that Spark need not fit again.
        open_files(lake, params.table).require("overwrite")
    if automatic and source.size > _LARGEST:
        raise EngineError(f"{params.source} has {source.size / 1e9:.0f} GB of Parquet")
    schema = StructType.fromJson(dict(source.schema))
    types = {each.name: each.dataType.simpleString() for each in schema}
    read = [*params.features.keys, *map(params.features.column, params.features.features)]
    limit = duckdb_limit(params.features, types, fits=fits) or _column_limit(source, schema, read)
    if limit is not None:
        raise EngineError(f"{params.source}: {limit}")
    import duckdb  # noqa: PLC0415 - an optional package

    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as engine:
        engine.execute(f"SET temp_directory = {DUCKDB.text(spill)}")
        # Statistics of files may leave out NaN; comparisons would then not see it.
        engine.execute("SET disabled_optimizers = 'statistics_propagation'")
        known = {name: types[name] for name in dict.fromkeys(read) if name in types}
        try:
            yield DuckdbEngine(lake, DuckTable(engine, source.files, known), schema)
        except duckdb.Error as error:
            raise EngineError(f"DuckDB failed: {error}") from None


def _column_limit(source: DeltaFiles, schema: StructType, read: list[str]) -> str | None:
    for name in read:
        if name in source.partition_by:
            return f"column {name} is in the names of its folders"
        if name in schema.names and set(schema[name].metadata or ()) - {"comment"}:
            return f"column {name} has rules that only Spark applies"
    return None


def _require_checkable(target: DeltaFiles, constraints: Mapping[str, str]) -> None:
    """Raises EngineError for a constraint that the build did not declare: only Spark checks it."""
    other = undeclared_constraints(target.properties, constraints)
    if other:
        listed = ", ".join(other)
        raise EngineError(f"{target.table} has constraints that only Spark checks: {listed}")


def _schema_after(target: DeltaFiles, spec: TableSpec) -> StructType:
    """The table's own schema, or that of `spec` where the columns change, as Spark writes it."""
    own, declared = StructType.fromJson(dict(target.schema)), struct_type(spec)
    if shape_differences(own, declared, extra=False):
        return nullable_type(spec)
    return own


def _check_nulls(new: list[NewFile], schema: StructType, spec: TableSpec) -> None:
    for each in schema:
        nulls = 0 if each.nullable else sum(file.nulls.get(each.name, 0) for file in new)
        if nulls:
            raise TableError(
                f"{spec.name}: column {each.name} would have {nulls} null(s), and the table "
                "allows none. Nothing was written."
            )


def _typed(column: Column) -> str:
    name = DUCKDB.identifier(column.name)
    kind = _SPARSE if column.type == SPARSE_TYPE else duckdb_type(column.type.lower())
    return f"CAST({name} AS {kind}) AS {name}"


def _new_file(row: tuple[Any, ...], spec: TableSpec) -> NewFile:
    """A file from DuckDB's statistics of it."""
    path, rows, size, _, columns, partition = row[:6]
    nulls, ends = {}, {}
    kinds = {column.name: column.type.lower() for column in spec.columns}
    for name, kind in kinds.items():
        found = columns.get(DUCKDB.identifier(name))
        if found is None:  # a struct has statistics of its parts only
            continue
        nulls[name] = int(found.get("null_count", 0))
        if found.get("min_is_exact") == found.get("max_is_exact") == "true":
            end = _END.get(kind)
            if end:
                ends[name] = (end(found["min"]), end(found["max"]))
    return NewFile(path, rows, size, nulls, ends, partition or {})


_END = {
    "tinyint": int,
    "smallint": int,
    "int": int,
    "bigint": int,
    "string": str,
    "date": str,
}
