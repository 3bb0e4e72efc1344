"""Applies the rules of a table to its rows, and counts the rows that break them."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.rules import FAIL, QUARANTINE, WARN, WARNINGS, RuleSet
from matchlake.ingest.schema import ERROR_CODE, ERROR_MESSAGE, QUARANTINED, STATUS, VALID
from matchlake.schemas import quote_identifier

_BROKEN = "_broken_rule"

RuleCounts = list[tuple[str, str, int]]
"""Per broken rule its name, its action, and the number of rows."""


def apply_rules(
    rows: DataFrame, rules: RuleSet, names: Sequence[str], cleared: Collection[str]
) -> DataFrame:
    """The columns `names` of the rows; valid rows that break a rule become quarantined. Lazy.

    Rows that break a rule with `fail` become quarantined, too: a caller refuses them with
    `require_unbroken` before it writes. In rows that a rule quarantines, the `cleared` columns are
    null, and error code and message name the rule. `_warnings` is added if it is among `names`.
    """
    is_valid = f"{STATUS.name} = '{VALID}'"
    message = f"IF({is_valid}, {rules.broken_message()}, NULL)"
    marked = rows.selectExpr("*", f"{message} AS {_BROKEN}")
    is_broken = f"{_BROKEN} IS NOT NULL"
    values = {name: f"IF({is_broken}, NULL, {quote_identifier(name)})" for name in cleared} | {
        STATUS.name: f"IF({is_broken}, '{QUARANTINED}', {STATUS.name})",
        ERROR_CODE.name: f"IF({is_broken}, '{ErrorCode.BROKEN_RULE}', {ERROR_CODE.name})",
        ERROR_MESSAGE.name: f"coalesce({_BROKEN}, {ERROR_MESSAGE.name})",
        WARNINGS.name: f"IF({is_valid} AND NOT ({is_broken}), {rules.warnings()}, NULL)",
    }
    quoted = {name: quote_identifier(name) for name in names}
    return marked.selectExpr(
        *(f"{values.get(name, as_is)} AS {as_is}" for name, as_is in quoted.items())
    )


def broken_rule() -> SparkColumn:
    """The name of the rule that quarantined a row; null for other rows."""
    name = F.substring_index(ERROR_MESSAGE.name, ":", 1)
    return F.when(F.col(ERROR_CODE.name) == ErrorCode.BROKEN_RULE, name)


def rule_counts(rows: DataFrame, by: Sequence[str]) -> dict[tuple[Any, ...], RuleCounts]:
    """The broken rules with their numbers of rows, by the values of the columns `by`.

    It reads only what the rows hold: the error message of quarantined rows, and `_warnings`.
    """
    quarantined = rows.select(*by, broken_rule().alias("rule"), F.lit(QUARANTINE).alias("action"))
    broken = quarantined.where("rule IS NOT NULL")
    if WARNINGS.name in rows.columns:
        named = F.explode(WARNINGS.name).alias("rule")
        broken = broken.union(rows.select(*by, named, F.lit(WARN).alias("action")))
    found = broken.groupBy(*by, "rule", "action").agg(F.count(F.lit(1)).alias("records"))
    counts: dict[tuple[Any, ...], RuleCounts] = {}
    for *key, rule, action, records in found.orderBy("rule", "action").collect():
        counts.setdefault(tuple(key), []).append((rule, action, records))
    return counts


class Broken(NamedTuple):
    """The rows that break one rule."""

    rule: str
    records: int
    example: str


def failed_rules(rows: DataFrame, rules: RuleSet, position: Sequence[str]) -> list[Broken]:
    """The rules with `fail` that rows of `apply_rules` break, each with an example of a position.

    Starts one Spark job, or none if no rule has `fail`.
    """
    names = rules.named(FAIL)
    if not names:
        return []
    broken = rows.select(broken_rule().alias("rule"), *position).where(F.col("rule").isin(*names))
    found = broken.groupBy("rule").agg(
        F.count(F.lit(1)).alias("records"), F.min(F.struct(*position)).alias("example")
    )
    return [broken_with(*row) for row in found.orderBy("rule").collect()]


def require_unbroken(table: str, part: str, rules: RuleSet, broken: Sequence[Broken]) -> None:
    """Raises InputError if rules with `fail` are broken. `part` names what was not written."""
    if broken:
        listed = "; ".join(
            f"{each.records} row(s) break rule {each.rule}, "
            f"{rules.rules[each.rule].expression} (one: {each.example})"
            for each in broken
        )
        raise InputError(
            f"{table}: {listed}. Its action is fail, so nothing of {part} was written. Correct the "
            "data at its source, or change the rule: with the action quarantine the other rows are "
            "written."
        )


def broken_with(rule: str, records: int, example: Row) -> Broken:
    """The rows that break a rule, with the position of one of them."""
    shown = ", ".join(f"{name} {value}" for name, value in example.asDict().items())
    return Broken(rule, records, shown)
