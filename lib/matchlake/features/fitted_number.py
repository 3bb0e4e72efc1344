"""A fitted numeric feature: formulas from its column to its output columns, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError

from matchlake.errors import InputError
from matchlake.features.bucketize import Bucketize
from matchlake.features.fitted import Array, Declared, FittedFeature, Output
from matchlake.features.names import Names, stage_column
from matchlake.features.nonlinear import LogNormal, Sigmoid, Tanh
from matchlake.features.numeric import NumberStatistics
from matchlake.features.numpy_blocks import NumberBlock
from matchlake.features.scalers import MaxAbs, MinMax, Number, Robust, ZScore
from matchlake.formulas.numpy import ARRAYS, bind
from matchlake.formulas.sql import SPARK, Dialect, number_text, render
from matchlake.formulas.tree import MISSING, Column, Expression, Input, Refuse, is_missing, when

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

AnyNumber = Annotated[
    Number | MinMax | ZScore | MaxAbs | Robust | Sigmoid | Tanh | LogNormal | Bucketize,
    Field(discriminator="kind"),
]
"""Every numeric encoder: a new one is a file of its own and a name here."""
FLOATING = ("float", "double")
_WHOLE = ("tinyint", "smallint", "int", "bigint", "boolean", "void")


class FittedNumber(FittedFeature):
    """A numeric feature, its column's type at fit, and the statistics of its formulas."""

    form: Literal["number"] = "number"
    feature: AnyNumber
    learned: NumberStatistics

    @classmethod
    def learn(cls, declared: Declared, found: Any, previous: Any, names: Names) -> Self:  # noqa: ARG003
        """The feature with its statistics; raises InputError where no formula follows from them."""
        learned = _checked(declared, found)
        fitted = cls.model_validate(declared._asdict() | {"learned": learned})
        fitted.formulas()
        return fitted

    def accepts(self, type_name: str) -> bool:
        """Whether a column of this type, as Spark names it, is a number like the one at fit."""
        if type_name in FLOATING:
            return self.type in FLOATING
        return type_name in _WHOLE or type_name.startswith("decimal")

    @property
    def indicator(self) -> str:
        """The name of the column that marks missing values."""
        return f"{self.name}_null"

    @property
    def raw(self) -> Column:
        """The table's column."""
        return Column(self.column, self.type in FLOATING)

    def limits(self) -> tuple[float, float] | None:
        """Bounds that every value of the output column lies within; None without bounds."""
        return self.feature.limits()

    def inputs(self) -> dict[str, Expression]:
        """Prepared values by name, as formulas over the table's column."""
        value: Expression = self.raw
        imputed = self.feature.imputed(self.learned)
        if self.feature.handle_null == "error":
            message = f"{self.name}: column {self.column} has a missing value"
            value = Refuse(is_missing(value), message, value)
        elif imputed is not None:
            value = when(is_missing(value), imputed, value)
        indicator = {stage_column("in", self.indicator): when(is_missing(self.raw), 1.0, 0.0)}
        prepared = {stage_column("in", self.name): self.feature.prepare(value, self.learned)}
        return prepared | (indicator if self.feature.add_indicator else {})

    def formulas(self) -> dict[str, Expression]:
        """The formulas of the output columns, by name; a formula reads the prepared values."""
        value = Input(stage_column("in", self.name))
        scaled = self.feature.scale(value, self.learned, self.name)
        if self.feature.handle_null == "keep" or self.feature.makes_missing:
            scaled = when(is_missing(value), MISSING, scaled)
        indicator = {self.indicator: Input(stage_column("in", self.indicator))}
        return {self.name: scaled} | (indicator if self.feature.add_indicator else {})

    def outputs(self) -> list[Output]:
        """The scaled value, then the indicator of missing values if the feature has one."""
        comment = f"{self.column}: {self.feature.describe(self.learned)}"
        kind = self.feature.output_type
        result = [Output(self.name, kind, comment, self.name, self.column, "number")]
        if self.feature.add_indicator:
            result.append(
                Output(
                    name=self.indicator,
                    type="INT",
                    comment=f"1 where {self.column} has no value, else 0",
                    feature=self.name,
                    source=self.column,
                    role="null",
                    rows=self.learned.missing,
                )
            )
        return result

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """`inputs` as SQL."""
        return {name: render(formula, dialect) for name, formula in self.inputs().items()}

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """`formulas` as SQL."""
        texts = {name: render(formula, dialect) for name, formula in self.formulas().items()}
        for output in self.outputs():
            if output.type == "INT":
                texts[output.name] = f"CAST({texts[output.name]} AS INT)"
        return texts

    def sql_inverse(self) -> str | None:
        """The inverse formula as Spark SQL; None where the encoder has none."""
        formula = self._inverse_formula()
        return None if formula is None else render(formula, SPARK)

    def sql_unknown(self, dialect: Dialect) -> dict[str, str]:
        """Conditions for a missing value and for a value outside the range at fit."""
        value = render(self.raw, dialect)
        return {
            "null": f"{value} IS NULL",
            "below_min": f"{value} < {number_text(self.learned.minimum)}",
            "above_max": f"{value} > {number_text(self.learned.maximum)}",
        }

    def counts_at_fit(self) -> dict[str, int] | None:
        """Missing values, and none out of the range; None if there were infinities."""
        if self.learned.infinite:
            return None
        return {"null": self.learned.missing, "below_min": 0, "above_max": 0}

    def numpy(self) -> NumberBlock:
        """The formulas bound to arrays and to single numbers."""
        return NumberBlock(self.column, self.inputs(), tuple(self.formulas().values()))

    def onnx(self, graph: "Graph") -> str:
        """The formulas as nodes of a graph."""
        prepared = {name: graph.render(each, {}) for name, each in self.inputs().items()}
        formulas = self.formulas().values()
        columns = [graph.column(graph.render(each, prepared)) for each in formulas]
        return columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)

    def inverse(self, columns: Mapping[str, Array], rows: int) -> Array | None:  # noqa: ARG002
        """The source column as doubles; None where the encoder has no inverse."""
        formula = self._inverse_formula()
        if formula is None:
            return None
        with np.errstate(all="ignore"):
            values: Array = bind(formula, ARRAYS)({self.name: columns[self.name]})
        return values

    def _inverse_formula(self) -> Expression | None:
        """From the output column, an Input of its name, to the source; None without an inverse."""
        value = Input(self.name)
        back = self.feature.unscale(value, self.learned)
        return when(is_missing(value), MISSING, back) if back else None


def _checked(declared: Declared, found: Mapping[str, Any]) -> NumberStatistics:
    """The statistics `found`; raises InputError where the encoder cannot work with them."""
    name, column, encoder = declared.name, declared.column, declared.feature
    if not found["rows"]:
        raise InputError(
            f"Feature {name}: column {column} has no finite value, so there is nothing to learn "
            "from. Remove the feature, or fix the column."
        )
    if encoder.handle_null == "error" and found["missing"]:  # type: ignore[attr-defined]
        raise InputError(
            f"Feature {name}: column {column} has {found['missing']} missing value(s), and "
            "handle_null is error. Fix the column, or choose another handle_null."
        )
    if any(found[need] is None for need in encoder.needs()):  # type: ignore[attr-defined]
        raise InputError(
            f"Feature {name}: column {column} has no positive value, and its scaler needs "
            "logarithms. Choose another scaler."
        )
    try:
        return NumberStatistics.model_validate(found)
    except ValidationError:
        raise InputError(
            f"Feature {name}: the values of column {column}, {found['minimum']!r} to "
            f"{found['maximum']!r}, are too large to sum up. Scale the column first."
        ) from None
