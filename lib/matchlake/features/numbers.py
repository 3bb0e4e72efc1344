"""A numeric feature with what it learned: formulas from its column to its output columns."""

from typing import Literal

from matchlake.features.expressions import (
    MISSING,
    Column,
    Expression,
    Input,
    Refuse,
    is_missing,
    when,
)
from matchlake.features.outputs import Output
from matchlake.features.scaling import MinMax, NumberStatistics
from matchlake.features.sql import Dialect, render
from matchlake.params import Params

FLOATING = ("float", "double")


class FittedNumber(Params):
    """A numeric feature, its column's type at fit, and the statistics it rests on."""

    form: Literal["number"] = "number"
    name: str
    column: str
    type: str
    """The column's type at fit, as Spark names it."""
    feature: MinMax
    learned: NumberStatistics

    @property
    def flag(self) -> str:
        """The name of the column that flags missing values."""
        return f"{self.name}_null"

    def inputs(self) -> dict[str, Expression]:
        """Prepared values by name, as formulas over the table's column."""
        column = Column(self.column, self.type in FLOATING)
        value: Expression = column
        if self.feature.nulls == "error":
            message = f"{self.name}: column {self.column} has a missing value"
            value = Refuse(is_missing(column), message, column)
        elif self.feature.nulls != "keep":
            value = when(is_missing(column), self.feature.nulls, column)
        flag = {f"in_{self.flag}": when(is_missing(column), 1.0, 0.0)}
        return {f"in_{self.name}": value} | (flag if self.feature.flag_nulls else {})

    def formulas(self) -> dict[str, Expression]:
        """Output columns by name, as formulas over the prepared values."""
        value = Input(f"in_{self.name}")
        scaled = self.feature.scale(value, self.learned, self.name)
        if self.feature.nulls == "keep" and scaled != MISSING:
            scaled = when(is_missing(value), MISSING, scaled)
        flag = {self.flag: Input(f"in_{self.flag}")}
        return {self.name: scaled} | (flag if self.feature.flag_nulls else {})

    def outputs(self) -> list[Output]:
        """The output columns in their order."""
        told = f"{self.column}: {self.feature.describe(self.learned)}"
        found = [Output(self.name, "DOUBLE", told, self.name, self.column, "number")]
        if self.feature.flag_nulls:
            told = f"1 where {self.column} has no value, else 0"
            rows = self.learned.missing
            found.append(Output(self.flag, "INT", told, self.name, self.column, "null", rows=rows))
        return found

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """`inputs` as SQL text."""
        return {name: render(formula, dialect) for name, formula in self.inputs().items()}

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """`formulas` as SQL text."""
        texts = {name: render(formula, dialect) for name, formula in self.formulas().items()}
        if self.feature.flag_nulls:
            texts[self.flag] = f"CAST({texts[self.flag]} AS INT)"
        return texts
