"""The query that scores events: from the messages of a topic to the records of another.

Every event becomes one record. With a head that has SQL, features and head are one SQL expression,
without Python.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from matchlake.errors import SchemaError
from matchlake.features.refusals import refusal_sql
from matchlake.formulas.sql import SPARK, Dialect
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.json_sql import (
    PARSED,
    column_sql,
    parse_sql,
    python_reason,
    rejection_sql,
)
from matchlake.model_store.score_columns import arrow_outputs, packed_trees
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.event_params import EventScoring

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

ANSWERED: Dialect = replace(SPARK, refuse="NULL")
"""SQL in which a refused value gives null: an event must not end a stream."""
REFUSAL = "refusal"
ERASED = "the user was erased"
_MISSING = "a feature that the model needs is missing"
CARRIED = ("_key", "_value", "_topic", "_partition", "_offset", "_timestamp", "_refusal")
"""The columns that belong to an event, whatever its model reads."""
SOURCE_FIELDS = ("source_topic", "source_partition", "source_offset", "source_timestamp")
"""The fields of a record that say which event it belongs to; the time is in milliseconds."""


@dataclass(frozen=True)
class EventQuery:
    """The events of `stream` scored by a version of a model, as records for Kafka."""

    params: EventScoring
    stream: StreamParams
    model: Any = field(repr=False)
    version: str

    def require_columns(self) -> None:
        """Raises SchemaError if the stream lacks a column that the model reads."""
        missing = [name for name in self.columns() if name not in self.stream.columns]
        if missing:
            raise SchemaError.missing(
                f"stream {self.params.stream}, which model {self.params.model} scores",
                missing,
                self.stream.columns,
            )

    def columns(self) -> tuple[str, ...]:
        """The columns of an event that the query reads."""
        raise NotImplementedError

    def named(self) -> tuple[str, ...]:
        """The columns of `scored` that become fields of a record."""
        raise NotImplementedError

    def scored(self, rows: "DataFrame") -> "DataFrame":
        """Adds the outputs to rows with CARRIED and the columns of the stream; lazy."""
        raise NotImplementedError

    def refused_sql(self) -> str | None:
        """SQL of the reason why the model refuses an event; None if it refuses none."""
        raise NotImplementedError

    def unscored_sql(self) -> str | None:
        """SQL of the reason why an event got no score; None if each has one."""
        raise NotImplementedError

    def python_reason(self) -> str | None:
        """Why the query needs Python, as a part of a sentence; None if SQL does it all."""
        return python_reason(self.stream)

    def records(self, messages: "DataFrame", erased: "ErasedKeys | None" = None) -> "DataFrame":
        """The records: topic, key, value and headers for Kafka. Lazy.

        `messages` are those of Spark's Kafka source. With `erased`, events of erased users have no
        score, and no key either.
        """
        parsed = messages.selectExpr("*", f"{parse_sql(self.stream)} AS {PARSED}")
        columns = [f"{sql} AS {_quoted(name)}" for name, sql in column_sql(self.stream).items()]
        own = [f"`{name.removeprefix('_')}` AS {name}" for name in CARRIED[:-1]]
        rows = parsed.selectExpr(*own, PARSED, *columns)
        reason = rejection_sql(self.stream)
        refused = self.refused_sql()
        both = f"coalesce({reason}, {refused})" if refused else reason
        rows = rows.selectExpr(
            *CARRIED[:-1], *map(_quoted, self.stream.columns), f"{both} AS _refusal"
        )
        if erased is not None and self.stream.persons:
            rows = erased.marked(rows, self.stream.persons)
        return self._as_records(self.scored(rows))

    def _as_records(self, rows: "DataFrame") -> "DataFrame":
        """One record per row; in its value, outputs and keys of a refused event are null."""
        unscored = self.unscored_sql()
        refusal = f"coalesce(_refusal, {unscored})" if unscored else "_refusal"
        rows = rows.selectExpr("*", f"{refusal} AS _reason")
        fields: dict[str, str] = dict(zip(SOURCE_FIELDS, _source_sql(), strict=True))
        fields |= {
            "model": SPARK.text(self.params.model),
            "model_version": SPARK.text(self.version),
        }
        fields |= {name: f"IF(_reason IS NULL, {_quoted(name)}, NULL)" for name in self.named()}
        fields[REFUSAL] = "_reason"
        struct = ", ".join(f"{SPARK.text(name)}, {sql}" for name, sql in fields.items())
        value = f"CAST(to_json(named_struct({struct}), map('ignoreNullFields', 'false')) AS BINARY)"
        letters = self.params.dead_letter_topic
        if letters is None:
            return rows.selectExpr(
                f"{SPARK.text(self.params.topic)} AS topic", "_key AS key", f"{value} AS value"
            )
        told = {**dict(zip(SOURCE_FIELDS, _source_sql(), strict=True)), REFUSAL: "_reason"}
        texts = {name: f"encode(CAST({sql} AS STRING), 'UTF-8')" for name, sql in told.items()}
        headers = ", ".join(
            f"named_struct('key', {SPARK.text(name)}, 'value', {text})"
            for name, text in texts.items()
        )
        return rows.selectExpr(
            f"IF(_reason IS NULL, {SPARK.text(self.params.topic)}, {SPARK.text(letters)}) AS topic",
            "_key AS key",
            f"IF(_reason IS NULL, {value}, _value) AS value",
            f"IF(_reason IS NULL, NULL, array({headers})) AS headers",
        )


@dataclass(frozen=True)
class RowQuery(EventQuery):
    """Events scored by a model of rows: features and head."""

    model: ScoringModel = field(repr=False)

    def columns(self) -> tuple[str, ...]:
        """The columns of the features, and the keys."""
        return tuple(dict.fromkeys((*self.model.columns(), *self.model.features.keys)))

    def named(self) -> tuple[str, ...]:
        """The keys, and the outputs of the head."""
        return (*self.model.features.keys, *(each.name for each in self.model.outputs()))

    def refused_sql(self) -> str | None:
        """Values that a feature refuses."""
        return refusal_sql(self.model.features)

    def unscored_sql(self) -> str | None:
        """A feature without a value."""
        return f"IF(prediction IS NULL, {SPARK.text(_MISSING)}, NULL)"

    def python_reason(self) -> str | None:
        """Why the query needs Python: the head, or the stream."""
        limit = self.model.head.sql_limit()
        if limit is not None:
            return f"the head of model {self.params.model} has no SQL: {limit}"
        return super().python_reason()

    def scored(self, rows: "DataFrame") -> "DataFrame":
        """The outputs of the head, by SQL where it has SQL."""
        for stage in self.model.features.sql_stages(ANSWERED):
            rows = rows.selectExpr(*CARRIED, *stage)
        if self.model.head.sql_limit() is not None:
            return self._in_python(rows)
        keys = [SPARK.identifier(key) for key in self.model.features.keys]
        for outputs in self.model.head.sql_stages(ANSWERED):
            named = [f"{sql} AS {_quoted(name)}" for name, sql in outputs.items()]
            rows = rows.selectExpr(*CARRIED, *keys, *named)
        return rows

    def _in_python(self, rows: "DataFrame") -> "DataFrame":
        head, kept = self.model.head, [*CARRIED, *self.model.features.keys]
        kinds = {each.name: each.dataType.simpleString() for each in rows.schema}
        listed = [f"{_quoted(name)} {kinds[name]}" for name in kept]
        listed += [f"{output.name} {output.type}" for output in head.outputs()]
        forest = packed_trees(head)

        def score_batches(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
            for batch in batches:
                yield arrow_outputs(head, forest, kept, batch)

        return rows.mapInArrow(score_batches, ", ".join(listed))


def _source_sql() -> tuple[str, ...]:
    return ("_topic", "_partition", "_offset", "unix_millis(_timestamp)")


def _quoted(name: str) -> str:
    return SPARK.identifier(name)


@dataclass(frozen=True)
class ErasedKeys:
    """Recognises erased users in SQL, by the HMAC-SHA256 of their ids.

    `pads` has one row: `_inner` and `_outer`, the two keys that HMAC makes of the salt, and
    `_never`, which is false. `hashes` has the column `_user_hash`. Both are joined by broadcast,
    because a plan shows literals; by a condition of equality, because real time has no other join.
    """

    pads: "DataFrame" = field(repr=False)
    hashes: "DataFrame" = field(repr=False)

    def marked(self, rows: "DataFrame", persons: tuple[str, ...]) -> "DataFrame":
        """The rows; those of erased users have a refusal, and neither key nor value nor ids."""
        from pyspark.sql import functions as F  # noqa: PLC0415 - conf is read without Spark

        names = rows.columns
        rows = rows.join(F.broadcast(self.pads), F.expr("(_partition < 0) = _never"))
        for person in persons:
            text = f"CAST(CAST({_quoted(person)} AS STRING) AS BINARY)"
            inner = f"unhex(sha2(concat(_inner, {text}), 256))"
            own = rows.withColumn("_hash", F.expr(f"sha2(concat(_outer, {inner}), 256)"))
            rows = own.join(F.broadcast(self.hashes), F.col("_hash") == F.col("_user_hash"), "left")
            rows = rows.selectExpr(
                *(_erased_sql(name, persons) for name in names), "_inner", "_outer"
            )
        # An event that does not parse may name an erased user in its bytes.
        unknown = " OR ".join(f"{_quoted(person)} IS NULL" for person in persons)
        hidden = f"_refusal IS NOT NULL AND ({unknown})"
        return rows.selectExpr(
            *(
                f"IF({hidden}, NULL, {name}) AS {name}"
                if name in ("_key", "_value")
                else _quoted(name)
                for name in names
            )
        )


def _erased_sql(name: str, persons: tuple[str, ...]) -> str:
    emptied: dict[str, Any] = dict.fromkeys((*persons, "_key", "_value"), "NULL")
    emptied["_refusal"] = SPARK.text(ERASED)
    if name not in emptied:
        return _quoted(name)
    return f"IF(_user_hash IS NULL, {_quoted(name)}, {emptied[name]}) AS {_quoted(name)}"
