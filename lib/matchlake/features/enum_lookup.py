"""A lookup of texts by an ENUM of DuckDB, as SQL: one hash per value, whatever their number."""

from collections.abc import Iterable, Mapping

from matchlake.formulas.sql import DUCKDB


class EnumLookup:
    """A table from texts to indices, as SQL: the code of a text in an ENUM is its place there.

    The texts with an index must be in rising order of it, without a gap. The others, and every text
    with the character 0, which an ENUM cannot hold, are compared one by one.
    """

    def __init__(self, indices: Mapping[str, int]) -> None:
        """A table of `indices` by text; -1 stands for no index."""
        coded = [text for text, index in indices.items() if index >= 0]
        self._coded = coded if is_enum(coded) else []
        self._first = indices[coded[0]] if coded else 0
        self._compared = {text: indices[text] for text in indices.keys() - set(self._coded)}

    def sql_slot(self, value: str) -> str:
        """SQL for the place of `value` among the texts; null for null and for any other text."""
        if not self._coded:
            return "CAST(NULL AS INT)"
        return f"CAST(enum_code({in_enum(value, self._coded)}) AS INT)"

    def sql_cases(self, value: str, slot: str) -> list[str]:
        """The branches of a CASE that find the index of `value` with the place `slot`."""
        compared = [
            f"WHEN {value} = {DUCKDB.text(text)} THEN {index}"
            for text, index in sorted(self._compared.items())
        ]
        return [*compared, f"WHEN {slot} IS NOT NULL THEN {slot} + {self._first}"]


def is_enum(texts: Iterable[str]) -> bool:
    """Whether an ENUM can hold the texts."""
    return not any("\0" in text for text in texts)


def in_enum(value: str, texts: Iterable[str]) -> str:
    """SQL for `value` as an ENUM of `texts`; null if it is none of them."""
    return f"TRY_CAST({value} AS ENUM({', '.join(map(DUCKDB.text, texts))}))"
