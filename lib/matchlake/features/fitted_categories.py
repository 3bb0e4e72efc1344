"""A fitted categorical feature: its categories, and how they run in every engine."""

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from matchlake.errors import InputError
from matchlake.features.categories import CategoryEncoder, MultiHot, OneHot
from matchlake.features.enum_lookup import EnumLookup, in_enum, is_enum
from matchlake.features.fitted import Array, Declared, FittedFeature, IndexSql, Output
from matchlake.features.names import Names, stage_column
from matchlake.features.numpy_blocks import ABSENT, REFUSED, CategoryBlock, CategoryLookup
from matchlake.features.perfect_hash import PerfectHash
from matchlake.features.requests import CategoryCounts
from matchlake.features.vocabulary import Category, choose_categories
from matchlake.formulas.onnx import NULL_TEXT, PADDING, onnx_text
from matchlake.formulas.sql import SPARK, Dialect, refuse, text_input

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

_log = logging.getLogger(__name__)

_FEW = 8
"""SQL compares a value with up to this many categories one by one, with more by a hash."""


class Positions(NamedTuple):
    """The positions of the ones among a feature's own columns; ABSENT or REFUSED without one."""

    categories: dict[str, int]
    null: int
    unknown: int


class FittedCategories(FittedFeature):
    """A categorical feature, its column's type at fit, and its categories in a fixed order."""

    form: Literal["categories"] = "categories"
    feature: Annotated[OneHot | MultiHot, Field(discriminator="kind")]
    categories: tuple[Category, ...]
    null_column: str | None = None
    unknown_column: str | None = None
    null_rows: int = 0
    """Rows without a value at fit."""
    unknown_rows: int = 0
    """Rows at fit with a value beyond the limits; for lists, elements beyond the limits."""

    gives_ones = True

    @classmethod
    def learn(cls, declared: Declared, found: Any, previous: Any, names: Names) -> Self:
        """The feature with its categories; raises InputError for data that its options refuse.

        The categories of `previous` keep their order and columns, and new ones follow them.
        """
        encoder: CategoryEncoder = declared.feature  # type: ignore[assignment]
        counts: CategoryCounts = found
        if encoder.handle_null == "error" and counts.missing:
            raise InputError(
                f"Feature {declared.name}: column {declared.column} has {counts.missing} null(s), "
                "and handle_null is error. Fix the column, or choose another handle_null."
            )
        null_column, unknown_column = _extra_columns(declared.name, encoder, previous, names)
        before = previous.categories if previous else ()
        categories = choose_categories(declared.name, encoder, counts, before, names)
        beyond = counts.present - sum(category.rows for category in categories)
        if beyond and encoder.handle_unknown == "error":
            raise InputError(
                f"Feature {declared.name}: within the limits {beyond} value(s) of column "
                f"{declared.column} get no output column, and handle_unknown is error. Raise "
                "max_categories or min_coverage, lower min_rows, or choose another handle_unknown."
            )
        if beyond:
            text = "%s: %d of %d values have no column of their own"
            _log.info(text, declared.name, beyond, counts.present)
        return cls.model_validate(
            declared._asdict()
            | {"null_column": null_column, "unknown_column": unknown_column}
            | {"categories": categories, "null_rows": counts.missing, "unknown_rows": beyond}
        )

    @property
    def is_list(self) -> bool:
        """Whether the column holds lists."""
        return self.feature.is_list

    @property
    def element_type(self) -> str:
        """The type of a single value, as Spark names it."""
        return self.type.removeprefix("array<").removesuffix(">") if self.is_list else self.type

    @property
    def shown(self) -> tuple[Category, ...]:
        """The categories that have a column."""
        return self.categories[1:] if self.feature.drop == "first" else self.categories

    @property
    def imputed(self) -> str | None:
        """The category that replaces a null; None where none does."""
        mode = max(self.categories, key=lambda category: category.rows, default=None)
        return mode.value if mode and self.feature.handle_null == "mode" else None

    def accepts(self, type_name: str) -> bool:
        """Whether a column of this type, as Spark names it, gives the same texts as at fit."""
        same = _any_integer(type_name) == _any_integer(self.type)
        return same or (type_name == "void" and not self.is_list)

    def known_categories(self) -> tuple[str, ...]:
        """The categories, which keep their columns at the next fit."""
        return tuple(category.value for category in self.categories)

    def kept_names(self) -> tuple[str, ...]:
        """The output columns, which keep their names at the next fit."""
        extra = [name for name in (self.null_column, self.unknown_column) if name]
        return (*(category.column for category in self.categories), *extra)

    @property
    def null_message(self) -> str:
        """The error of a null where `handle_null` is error."""
        return f"{self.name}: column {self.column} has a null"

    @property
    def unknown_message(self) -> str:
        """The error of a value without a column where `handle_unknown` is error."""
        return f"{self.name}: column {self.column} has a value that was not there at fit"

    def positions(self) -> Positions:
        """The positions of the ones: the categories, then null, then unknown."""
        indices = {category.value: ABSENT for category in self.categories}
        indices |= {category.value: index for index, category in enumerate(self.shown)}
        imputed = ABSENT if self.imputed is None else indices[self.imputed]
        end, feature = len(self.shown), self.feature
        null = {"zero": ABSENT, "error": REFUSED, "mode": imputed, "indicator": end}
        end += feature.handle_null == "indicator"
        unknown = {"ignore": ABSENT, "error": REFUSED, "indicator": end}
        return Positions(indices, null[feature.handle_null], unknown[feature.handle_unknown])

    def outputs(self) -> list[Output]:
        """The output columns in their order: the categories, then null, then unknown."""
        verb = "has" if self.is_list else "is"
        made = [self._output("category", c.column, f"{verb} {c.value!r}", c) for c in self.shown]
        if self.null_column:
            made.append(self._output("null", self.null_column, "is null"))
        if self.unknown_column:
            made.append(self._output("unknown", self.unknown_column, f"{verb} an unknown value"))
        return made

    def sql_inputs(self, dialect: Dialect) -> dict[str, str]:
        """The column as text, with errors and imputed values, by its prepared name."""
        value = text_input(self.column, self.type, dialect)
        checked = value
        if self.feature.handle_unknown == "error":
            unknown = self._sql_is_unknown(value, dialect)
            checked = refuse(unknown, self.unknown_message, checked, dialect)
        if self.feature.handle_null == "error":
            checked = refuse(f"{value} IS NULL", self.null_message, checked, dialect)
        if self.imputed is not None:
            text = dialect.text(self.imputed)
            filled = dialect.list_of.format(text) if self.is_list else text
            checked = f"COALESCE({checked}, {filled})"
        return {stage_column("in", self.name): checked}

    def sql_refusals(self) -> list[tuple[str, str]]:
        """Spark SQL conditions on the table for values that are an error, with their messages."""
        value = text_input(self.column, self.type, SPARK)
        found = []
        if self.feature.handle_null == "error":
            found.append((f"{value} IS NULL", self.null_message))
        if self.feature.handle_unknown == "error":
            found.append((self._sql_is_unknown(value, SPARK), self.unknown_message))
        return found

    def sql_outputs(self, dialect: Dialect) -> dict[str, str]:
        """The output columns as SQL over the prepared column."""
        conditions = self._sql_conditions(dialect).items()
        return {name: f"CAST({condition} AS INT)" for name, condition in conditions}

    def sql_indices(self, first: int, dialect: Dialect) -> IndexSql:
        """The index of the one, or of each one of a list, counted from `first`; -1 for none."""
        name = stage_column("in", self.name)
        value = dialect.identifier(name)
        prepared = {name: value}
        if self.is_list:
            conditions = self._sql_conditions(dialect).values()
            cases = [
                f"CASE WHEN {each} THEN {first + i} ELSE {ABSENT} END"
                for i, each in enumerate(conditions)
            ]
            return IndexSql(prepared, cases)
        positions, null, unknown = self.positions()
        indices = {text: _shifted(position, first) for text, position in positions.items()}
        if len(indices) > _FEW:
            hashed = stage_column("hash", self.name)
            table: PerfectHash | EnumLookup = (
                PerfectHash(indices, _shifted(unknown, first))
                if dialect is SPARK
                else EnumLookup(indices)
            )
            prepared[hashed] = table.sql_slot(value)
            result = table.sql_cases(value, dialect.identifier(hashed))
        else:
            result = [
                f"WHEN {value} = {dialect.text(text)} THEN {index}"
                for text, index in indices.items()
            ]
        missing = f"WHEN {value} IS NULL THEN {_shifted(null, first)}"
        case = f"CASE {' '.join([missing, *result])} ELSE {_shifted(unknown, first)} END"
        return IndexSql(prepared, [case])

    def sql_inverse(self) -> str:
        """The category of the column with a 1, in the type of the source column; else null."""
        one = SPARK.identifier
        chosen = [f"WHEN {one(c.column)} = 1 THEN {SPARK.text(c.value)}" for c in self.shown]
        if self.is_list:
            value = f"array_compact(array({', '.join(f'CASE {each} END' for each in chosen)}))"
            if self.null_column:
                value = f"CASE WHEN {one(self.null_column)} = 1 THEN NULL ELSE {value} END"
        else:
            extra = [name for name in (self.null_column, self.unknown_column) if name]
            chosen += [f"WHEN {one(name)} = 1 THEN NULL" for name in extra]
            value = "NULL" if self._of_zeros is None else SPARK.text(self._of_zeros)
            if chosen:
                value = f"CASE {' '.join(chosen)} ELSE {value} END"
        return f"CAST({value} AS {self.type})"

    def sql_unknown(self, dialect: Dialect) -> dict[str, str]:
        """Conditions for a null and for a value without a column."""
        value = text_input(self.column, self.type, dialect)
        unknown = self._sql_is_unknown(value, dialect)
        return {"null": f"{value} IS NULL", "unknown_category": unknown}

    def counts_at_fit(self) -> dict[str, int] | None:
        """Nulls, and values beyond the limits; None for lists with such, counted by element."""
        if self.is_list and self.unknown_rows:
            return None
        return {"null": self.null_rows, "unknown_category": self.unknown_rows}

    def numpy(self) -> CategoryBlock:
        """A dictionary from the text of a category to its position."""
        positions, null, unknown = self.positions()
        return CategoryBlock(
            CategoryLookup(
                column=self.column,
                type=self.element_type,
                is_list=self.is_list,
                width=len(self.outputs()),
                positions=positions,
                null=null,
                unknown=unknown,
                null_message=self.null_message,
                unknown_message=self.unknown_message,
            )
        )

    def onnx(self, graph: "Graph") -> str:
        """The position of each text by a lookup, and a one in the column of that position."""
        positions, null, unknown = self.positions()
        codes = {onnx_text(text): position for text, position in positions.items()}
        codes |= {NULL_TEXT: null} | ({PADDING: ABSENT} if self.is_list else {})
        texts = graph.text_input(self.column, is_list=self.is_list)
        found = graph.codes(texts, codes, unknown)
        if REFUSED in (null, unknown):
            self._refuse_in(graph, found)
        last = 2 if self.is_list else 1
        apart = graph.add("Unsqueeze", found, graph.integers([last]))
        columns = graph.constant(np.arange(len(self.outputs())))
        ones = graph.cast(graph.add("Equal", apart, columns), "DOUBLE")
        if not self.is_list:
            return ones
        return graph.add("ReduceMax", ones, graph.integers([1]), keepdims=0)

    def _refuse_in(self, graph: "Graph", found: str) -> None:
        refused = graph.add("Equal", found, graph.integer(REFUSED))
        if self.is_list:
            numbers = graph.cast(refused, "INT32")
            most = graph.add("ReduceMax", numbers, graph.integers([1]), keepdims=0)
            refused = graph.cast(most, "BOOL")
        graph.refuse(refused)

    def inverse(self, columns: Mapping[str, Array], rows: int) -> npt.NDArray[np.object_]:
        """The category of each row as text, or a list of texts; None without a category."""
        outputs = [output.name for output in self.outputs()]
        # A column of zeros is added, because a feature may have no column at all.
        ones = np.column_stack([*(columns[name] for name in outputs), np.zeros(rows)]) == 1
        values: list[str | None] = [category.value for category in self.shown]
        shown = len(values)
        back = np.empty(rows, dtype=object)
        if self.is_list:
            null = outputs.index(self.null_column) if self.null_column else -1
            for row, result in enumerate(ones):
                back[row] = (
                    None if result[null] else [values[i] for i in np.flatnonzero(result[:shown])]
                )
            return back
        values += [None] * (len(outputs) - shown)
        texts = np.array([*values, self._of_zeros], dtype=object)
        back[:] = texts[np.where(ones.any(axis=1), ones.argmax(axis=1), len(values))]
        return back

    @property
    def _of_zeros(self) -> str | None:
        """The category that a row of zeros stands for."""
        dropped = self.feature.drop == "first" and self.categories
        return self.categories[0].value if dropped else None

    def _sql_conditions(self, dialect: Dialect) -> dict[str, str]:
        """The condition under which each output column is 1, over the prepared column."""
        value = dialect.identifier(stage_column("in", self.name))
        has = dialect.contains if self.is_list else "{} IS NOT DISTINCT FROM {}"
        conditions = {c.column: has.format(value, dialect.text(c.value)) for c in self.shown}
        if self.null_column:
            conditions[self.null_column] = f"{value} IS NULL"
        if self.unknown_column:
            conditions[self.unknown_column] = self._sql_is_unknown(value, dialect)
        return conditions

    def _sql_is_unknown(self, value: str, dialect: Dialect) -> str:
        """Whether `value`, SQL text, is not null and none of the categories."""
        texts = [dialect.text(category.value) for category in self.categories]
        if self.is_list:
            known = ", ".join([f"CAST(NULL AS {dialect.text_type})", *texts])
            return dialect.other_elements.format(value=value, known=known)
        if not texts:
            return f"{value} IS NOT NULL"
        values = self.known_categories()
        if dialect is not SPARK and len(values) > _FEW and is_enum(values):
            return f"({value} IS NOT NULL AND {in_enum(value, values)} IS NULL)"
        return f"({value} IS NOT NULL AND {value} NOT IN ({', '.join(texts)}))"

    def _output(
        self,
        role: Literal["category", "null", "unknown"],
        name: str,
        condition: str,
        category: Category | None = None,
    ) -> Output:
        rows = {"null": self.null_rows, "unknown": self.unknown_rows}.get(role)
        return Output(
            name=name,
            type="INT",
            comment=f"1 where {self.column} {condition}, else 0",
            feature=self.name,
            source=self.column,
            role=role,
            category=category.value if category else None,
            rows=category.rows if category else rows,
        )


def _extra_columns(
    name: str, encoder: CategoryEncoder, previous: FittedCategories | None, names: Names
) -> tuple[str | None, str | None]:
    """The indicator columns of null and of unknown values, where the encoder has them."""
    null = unknown = None
    if encoder.handle_null == "indicator":
        null = (previous.null_column if previous else None) or names.claim(name, "null")
    if encoder.handle_unknown == "indicator":
        unknown = (previous.unknown_column if previous else None) or names.claim(name, "unknown")
    return null, unknown


def _any_integer(type_name: str) -> str:
    """The type with every integer type as bigint: the texts of their values are the same."""
    return re.sub(r"\b(tiny|small|big)?int\b", "bigint", type_name)


def _shifted(index: int, first: int) -> int:
    return index + first if index >= 0 else ABSENT
