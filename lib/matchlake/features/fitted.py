"""What every fitted feature gives: output columns, SQL, NumPy, the inverse, and its counters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from matchlake.features.encoder import Encoder
from matchlake.features.names import Names
from matchlake.features.numpy_blocks import Block
from matchlake.formulas.sql import Dialect
from matchlake.params import Params

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

Array = npt.NDArray[np.generic]


class Output(NamedTuple):
    """One output column of a fitted feature set."""

    name: str
    type: Literal["DOUBLE", "INT"]
    comment: str
    feature: str
    source: str
    """The column that the feature reads."""
    role: Literal["number", "category", "null", "unknown"]
    category: str | None = None
    """The category of the column; None for the other roles."""
    rows: int | None = None
    """Rows at fit with this category, without a value, or with a value without a column."""


class Declared(NamedTuple):
    """A declared feature: its name, its column and the column's type, and its encoder."""

    name: str
    column: str
    type: str
    """The column's type at fit, as Spark names it."""
    feature: Encoder


class IndexSql(NamedTuple):
    """SQL for the indices of a feature's ones."""

    prepared: dict[str, str]
    """SQL by column name that an earlier stage computes."""
    indices: list[str]
    """SQL over the prepared columns: one index each, or -1 for none."""


class FittedFeature(Params):
    """A fitted feature: its encoder, its column's type at fit, and what it learned.

    A form of it says how its encoder's statistics become state, and how that state runs in every
    engine. `kinds.FITTED` lists the forms.
    """

    name: str
    column: str
    type: str
    """The column's type at fit, as Spark names it."""

    gives_ones: ClassVar[bool] = False
    """Whether the output columns hold only zeros and ones, so that indices can replace them."""

    @classmethod
    def learn(cls, declared: Declared, found: Any, previous: Any, names: Names) -> Self:
        """The fitted feature from the statistics `found`; raises InputError for unfit data.

        `previous` is the same feature of an earlier fit, or None; new output columns take their
        names from `names`.
        """
        raise NotImplementedError

    @property
    def is_list(self) -> bool:
        """Whether the column holds lists."""
        return False

    def accepts(self, type_name: str) -> bool:
        """Whether a column of this type, as Spark names it, has the same values as at fit."""
        raise NotImplementedError

    def known_categories(self) -> tuple[str, ...]:
        """The categories that keep their columns at the next fit."""
        return ()

    def kept_names(self) -> tuple[str, ...]:
        """The output columns that keep their names at the next fit."""
        return ()

    def limits(self) -> tuple[float, float] | None:
        """Bounds that every value of the output column lies within; None without bounds."""
        return None

    def outputs(self) -> list[Output]:
        """The output columns in their order."""
        raise NotImplementedError

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """SQL over the table's columns, by the name of each prepared column."""
        raise NotImplementedError

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """SQL over the prepared columns, by the name of each output column."""
        raise NotImplementedError

    def sql_indices(self, first: int, dialect: Dialect) -> IndexSql:
        """SQL for the indices of the ones, counted from `first`; only where `gives_ones`."""
        raise NotImplementedError

    def sql_inverse(self) -> str | None:
        """Spark SQL from the output columns back to the source column; None without an inverse."""
        raise NotImplementedError

    def sql_unknown(self, dialect: Dialect) -> dict[str, str]:
        """SQL conditions on the table for values that the fit has not seen.

        The keys are null, below_min, above_max, unknown_category; each form has some of them.
        """
        raise NotImplementedError

    def counts_at_fit(self) -> dict[str, int] | None:
        """The numbers of rows at fit under the conditions of `sql_unknown`; None if not known."""
        raise NotImplementedError

    def numpy(self) -> Block:
        """The feature compiled for NumPy arrays and for single rows."""
        raise NotImplementedError

    def onnx(self, graph: "Graph") -> str:
        """The feature in a graph: the name of its matrix, double [rows, output columns]."""
        raise NotImplementedError

    def inverse(self, columns: Mapping[str, Array], rows: int) -> Array | None:
        """Arrays of output columns back to the source column's; None without an inverse."""
        raise NotImplementedError
