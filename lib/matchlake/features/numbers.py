"""A numeric feature with what it learned: formulas from its column to its output columns."""

from typing import Annotated, Literal

from pydantic import Field

from matchlake.features.buckets import Bucket
from matchlake.features.curves import LogNormal, Sigmoid, Tanh
from matchlake.features.names import between
from matchlake.features.outputs import Output
from matchlake.features.scalers import MaxAbs, Robust, ZScore
from matchlake.features.scaling import MinMax, Number, NumberStatistics
from matchlake.formulas.sql import Dialect, render
from matchlake.formulas.tree import (
    MISSING,
    Column,
    Expression,
    Input,
    Refuse,
    is_missing,
    when,
)
from matchlake.params import Params

AnyNumber = Annotated[
    Number | MinMax | ZScore | MaxAbs | Robust | Sigmoid | Tanh | LogNormal | Bucket,
    Field(discriminator="kind"),
]
FLOATING = ("float", "double")
_WHOLE = ("tinyint", "smallint", "int", "bigint", "boolean", "void")


class FittedNumber(Params):
    """A numeric feature, its column's type at fit, and the statistics it rests on."""

    form: Literal["number"] = "number"
    name: str
    column: str
    type: str
    """The column's type at fit, as Spark names it."""
    feature: AnyNumber
    learned: NumberStatistics

    def accepts(self, type_name: str) -> bool:
        """Whether a column of that type, as Spark names it, is a number as it was at fit."""
        if type_name in FLOATING:
            return self.type in FLOATING
        return type_name in _WHOLE or type_name.startswith("decimal")

    @property
    def flag(self) -> str:
        """The name of the column that flags missing values."""
        return f"{self.name}_null"

    @property
    def raw(self) -> Column:
        """The table's column."""
        return Column(self.column, self.type in FLOATING)

    def limits(self) -> tuple[float, float] | None:
        """What no value of the output column is below or above; None where there is none."""
        return self.feature.limits()

    def inputs(self) -> dict[str, Expression]:
        """Prepared values by name, as formulas over the table's column."""
        value: Expression = self.raw
        fill = self.feature.fill(self.learned)
        if self.feature.nulls == "error":
            message = f"{self.name}: column {self.column} has a missing value"
            value = Refuse(is_missing(value), message, value)
        elif fill is not None:
            value = when(is_missing(value), fill, value)
        flag = {between("in", self.flag): when(is_missing(self.raw), 1.0, 0.0)}
        prepared = {between("in", self.name): self.feature.prepare(value, self.learned)}
        return prepared | (flag if self.feature.flag_nulls else {})

    def formulas(self) -> dict[str, Expression]:
        """Output columns by name, as formulas over the prepared values."""
        value = Input(between("in", self.name))
        scaled = self.feature.scale(value, self.learned, self.name)
        if self.feature.nulls == "keep" or self.feature.makes_missing:
            scaled = when(is_missing(value), MISSING, scaled)
        flag = {self.flag: Input(between("in", self.flag))}
        return {self.name: scaled} | (flag if self.feature.flag_nulls else {})

    def inverse(self) -> Expression | None:
        """From the output column, an Input of its name, to the source; None where there is none."""
        value = Input(self.name)
        back = self.feature.unscale(value, self.learned)
        return when(is_missing(value), MISSING, back) if back else None

    def outputs(self) -> list[Output]:
        """The output columns in their order."""
        told = f"{self.column}: {self.feature.describe(self.learned)}"
        kind: Literal["INT", "DOUBLE"] = "INT" if self.feature.kind == "bucket" else "DOUBLE"
        found = [Output(self.name, kind, told, self.name, self.column, "number")]
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
        for output in self.outputs():
            if output.type == "INT":
                texts[output.name] = f"CAST({texts[output.name]} AS INT)"
        return texts
