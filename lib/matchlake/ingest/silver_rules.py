"""The rules of a silver table: which valid records of bronze it is built from.

The rules look at each record alone, before the last record per key is chosen. So a record that
breaks a rule neither becomes a row nor replaces or removes one, and a merge gives the same table as
a rebuild.
"""

from typing import Any, NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from matchlake.ingest.params import SilverTable, StreamParams
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.row_rules import broken_with, require_unbroken
from matchlake.ingest.rules import FAIL, QUARANTINE, WARN, WARNINGS, RuleSet
from matchlake.ingest.schema import ERROR_COLUMNS, POSITION, STATUS, VALID
from matchlake.ingest.tables import valid_columns
from matchlake.schemas import Column, ViewSpec, quote_identifier

_EXAMPLE = ("topic", "partition", "offset")

BrokenRules = tuple[tuple[str, str, int], ...]
"""Per broken rule its name, its action, and the number of records."""


class SilverRules(NamedTuple):
    """The rules of one silver table, and those of its stream."""

    stream: StreamParams
    silver: SilverTable

    @property
    def own(self) -> RuleSet:
        """The rules of the silver table."""
        return self.stream.rules_over(self.silver.rules)

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The column `_warnings`, if a rule of the table or of its stream has the action `warn`."""
        return self.own.table_columns or self.stream.rule_set.table_columns

    @property
    def declared(self) -> dict[str, Any]:
        """The rules that a build depends on. After a change of them the table is rebuilt."""
        rules = self.silver.rules.items()
        declared = {name: each.model_dump(exclude={"comment"}) for name, each in rules}
        return {"rules": declared} if declared else {}

    @property
    def quarantine_view(self) -> str:
        """The view of the records that the rules leave out."""
        return f"{self.silver.table}_quarantine"

    def obeying(self, valid: DataFrame) -> DataFrame:
        """The valid records that are not left out, with `_warnings` if the table has it. Lazy."""
        rows = valid
        if self.table_columns:
            rows = rows.withColumn(WARNINGS.name, self._warnings(WARNINGS.name in valid.columns))
        return rows.where(self.is_obeyed()) if self.own.rules else rows

    def is_obeyed(self) -> SparkColumn:
        """Whether a record breaks no rule with the action `quarantine` or `fail`."""
        return F.expr(self.own.broken_message()).isNull()

    def _warnings(self, of_stream: bool) -> SparkColumn:  # noqa: FBT001 - a property of the rows
        """The broken rules with `warn`: those of the stream, then those of the table."""
        none = F.array().cast(WARNINGS.type)
        own = F.expr(self.own.warnings())
        if not of_stream:
            return own
        both = F.concat(F.coalesce(WARNINGS.name, none), F.coalesce(own, none))
        return F.nullif(both, none)

    def counted(self, chosen: SparkColumn) -> SparkColumn:
        """An aggregate of the `chosen` records: per rule their number, and an example."""
        position, each = F.struct(*_EXAMPLE), []
        for name, is_broken in self._broken().items():
            counts = chosen & is_broken
            example = F.min(F.when(counts, position)).alias("example")
            each.append(F.struct(F.count_if(counts).alias("records"), example).alias(name))
        return F.struct(*each)

    def found(self, counts: Row) -> BrokenRules:
        """The broken rules, from the result of `counted`.

        Raises InputError if one of them has the action `fail`.
        """
        broken = {name: each for name, each in counts.asDict().items() if each.records}
        actions = {name: self.silver.rules[name].action for name in broken}
        failed = [
            broken_with(name, each.records, each.example)
            for name, each in broken.items()
            if actions[name] == FAIL
        ]
        require_unbroken(self.silver.table, "the build", self.own, failed)
        return tuple((name, actions[name], each.records) for name, each in broken.items())

    def _broken(self) -> dict[str, SparkColumn]:
        """Per rule, whether a record breaks it. Of rules that leave it out, the first counts."""
        rules = self.own
        left_out = F.substring_index(F.expr(rules.broken_message()), ":", 1)
        return {
            name: F.coalesce(
                ~F.expr(rules.condition(name)) & self.is_obeyed()
                if rules.rules[name].action == WARN
                else left_out == name,
                F.lit(False),  # noqa: FBT003 - a value
            )
            for name in rules.rules
        }

    def view(self) -> ViewSpec | None:
        """The view of the valid records of bronze that the rules leave out; None without rules."""
        if not self.own.named(FAIL, QUARANTINE):
            return None
        columns = (*valid_columns(self.stream), *POSITION)
        names = ", ".join(quote_identifier(each.name) for each in columns)
        code, text = (each.name for each in ERROR_COLUMNS)
        return ViewSpec(
            self.quarantine_view,
            f"The valid records of {self.stream.table} that the rules of {self.silver.table} leave "
            "out.",
            tuple((each.name, each.comment) for each in (*columns, *ERROR_COLUMNS)),
            f"SELECT {names}, '{ErrorCode.BROKEN_RULE}' AS {code}, {text} FROM (SELECT {names},"
            f" {self.own.broken_message()} AS {text} FROM {self.stream.table}"
            f" WHERE {STATUS.name} = '{VALID}') WHERE {text} IS NOT NULL",
            (self.stream.table,),
        )
