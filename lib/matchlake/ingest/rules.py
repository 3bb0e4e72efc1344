"""Row rules: SQL conditions over the columns of a row, declared in conf. Imports no Spark."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from matchlake.errors import ParameterError
from matchlake.formulas.error_free_sql import error_free_condition
from matchlake.ingest.columns import Columns, checked_name
from matchlake.params import Params
from matchlake.schemas import Column, quote_text

WARN, QUARANTINE, FAIL = "warn", "quarantine", "fail"
WARNINGS = Column("_warnings", "ARRAY<STRING>", "Rules with the action warn that the row breaks")
"""The column of tables with such a rule; null in a row that breaks none."""


class RowRule(Params):
    """A condition that each row has to meet."""

    expression: str
    """SQL condition over the columns of the row, with operators and harmless functions. A row
    breaks the rule if the condition is false. A null passes; a division by zero and the like
    are null."""
    action: Literal["warn", "quarantine", "fail"]
    """What happens with a row that breaks the rule. warn: it is valid, and `_warnings` names the
    rule; quarantine: it is quarantined; fail: the batch, file or build fails unwritten."""
    comment: str = ""
    """The meaning of the rule."""


Rules = dict[str, RowRule]
"""The rules of a table by name, in their order."""


class RuleSet(NamedTuple):
    """The rules of a table, and the types of the columns that they read."""

    rules: Rules
    columns: Mapping[str, str]
    exempt: str = ""
    """SQL condition of rows to which no rule applies: records that delete a row."""

    def validate(self) -> None:
        """Raises ValueError for a name or an expression that is not allowed."""
        for name in self.rules:
            checked_name(name, 1)
            self.condition(name)

    def condition(self, name: str) -> str:
        """The condition of a rule as SQL. The SQL does not fail, whatever the values are."""
        try:
            condition = error_free_condition(self.rules[name].expression, self.columns)
        except ParameterError as error:
            raise ParameterError(f"rules.{name}: {error}") from None
        return f"({self.exempt} OR {condition})" if self.exempt else condition

    def named(self, *actions: str) -> list[str]:
        """The rules with one of the actions, in the order of the actions, then of conf."""
        return [
            name for action in actions for name, each in self.rules.items() if each.action == action
        ]

    def message(self, name: str) -> str:
        """The error message of a row that breaks the rule."""
        return f"{name}: {self.rules[name].expression} is false"

    def broken_message(self) -> str:
        """SQL: the message of the first broken rule, `fail` before others; null without one."""
        branches = [
            f"WHEN NOT {self.condition(name)} THEN {quote_text(self.message(name))}"
            for name in self.named(FAIL, QUARANTINE)
        ]
        return f"CASE {' '.join(branches)} END" if branches else "CAST(NULL AS STRING)"

    def warnings(self) -> str:
        """SQL: the names of the broken rules with `warn`; null if none is broken."""
        names = [
            f"IF(NOT {self.condition(name)}, {quote_text(name)}, NULL)" for name in self.named(WARN)
        ]
        listed = f"filter(array({', '.join(names)}), name -> name IS NOT NULL)"
        return f"nullif({listed}, CAST(array() AS ARRAY<STRING>))"

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The column `_warnings`, if a rule has the action `warn`."""
        return (WARNINGS,) if self.named(WARN) else ()


def types_of(columns: Columns) -> dict[str, str]:
    """Returns the types of the declared columns, by name."""
    return {name: column.type for name, column in columns.items()}
