"""The rules of a lake source, applied to its parsed rows."""

from pyspark.sql import DataFrame

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.row_rules import apply_rules
from matchlake.io.erased_users import ErasedUsers

_IS_ERASED = "_is_erased"


def with_rules(rows: DataFrame, source: LakeSource, erased: ErasedUsers | None) -> DataFrame:
    """Applies the rules to rows of `parse_rows`; adds `_warnings` if a rule has `warn`. Lazy.

    Rules do not apply to rows of erased users: a valid row is left out of the table, but as
    a quarantined row its text would be kept.
    """
    rules = source.rule_set
    if not rules.rules:
        return rows
    names = [*rows.columns, *(column.name for column in rules.table_columns)]
    if erased:
        rows = rows.withColumn(_IS_ERASED, erased.any_of(source.persons))
        rules = rules._replace(exempt=_IS_ERASED)
    return apply_rules(rows, rules, names, list(source.columns))
