"""A scoring model in the server: reads the columns of a request, returns the outputs."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.formulas.onnx import NULL_TEXT, REFUSED, text_input_name
from matchlake.model_store.served_signature import ScoringSignature, ServedColumn
from matchlake.model_store.verified import Verified, largest_difference, plain_outputs
from matchlake.serve.errors import RequestError
from matchlake.serve.session import Session
from matchlake.serve.values import numbers, texts

Array = npt.NDArray[Any]
Columns = Mapping[str, Sequence[Any]]


class Scored(NamedTuple):
    """The outputs for the rows of one request."""

    columns: dict[str, list[Any]]
    """JSON values by output; null if a row has no prediction."""
    features_hash: str | None
    """The digest of the graph's inputs; None if it was not requested."""


class ScoringServer:
    """One version of a scoring model; immutable."""

    kind = "scoring"

    def __init__(self, session: Session, signature: ScoringSignature, version: str) -> None:
        self.name, self.version, self.signature = signature.name, version, signature
        self._session = session
        self._columns = {each.name: each for each in signature.columns}
        self._known = frozenset((*self._columns, *signature.keys))
        self._refuses = any(each.refuses for each in signature.columns)
        self._outputs = [each.name for each in signature.outputs]
        asked = [*self._outputs, REFUSED] if REFUSED in session.outputs else self._outputs
        self._asked = tuple(asked)
        self._plain = [_plain_of(each.type) for each in signature.outputs]

    def check_rows(self, columns: Columns, most: int) -> int:
        """Returns the number of rows.

        Raises RequestError for wrong columns and for too many rows.
        """
        for name in columns:
            if name not in self._known:
                raise RequestError(
                    f"The model has no column {str(name)[:80]!r}; it reads "
                    f"{', '.join(self._columns)}.",
                    name,
                )
        for name in self._columns:
            if name not in columns:
                raise RequestError(f"Column {name} is missing.", name)
        rows = len(next(iter(columns.values())))
        if rows > most:
            raise RequestError(f"The request has {rows} rows; at most {most} are allowed.", "rows")
        return rows

    def score(self, columns: Columns, *, hashed: bool = False) -> Scored:
        """Scores rows that passed `check_rows`; raises RequestError for a wrong value."""
        inputs = self._inputs(columns)
        if not len(next(iter(inputs.values()))):
            return Scored({name: [] for name in self._outputs}, None)
        found = self._session.run(self._asked, inputs)
        if len(found) > len(self._outputs) and found[-1].any():
            self._refuse(int(np.argmax(found[-1])), columns)
        made = zip(self._outputs, self._plain, found, strict=False)
        digest = _digest(inputs) if hashed else None
        return Scored({name: plain(values) for name, plain, values in made}, digest)

    def verify(self, verified: Verified) -> float:
        """Scores the rows inside the export; returns the largest difference of a score.

        Raises ModelError for a difference beyond the tolerance.
        """
        columns = {name: list(verified.inputs[name]) for name in self._columns}
        return self._compared(self._inputs(columns), verified)

    def verify_graph(self, verified: Verified) -> float:
        """Like `verify`, for a file whose rows are inputs of the graph."""
        inputs: dict[str, Array] = {}
        for name in self._session.inputs:
            is_text = name.endswith(text_input_name(""))
            inputs[name] = np.array(verified.inputs[name], dtype=object if is_text else np.float64)
        return self._compared(inputs, verified)

    def _compared(self, inputs: Mapping[str, Array], verified: Verified) -> float:
        found = dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        labels = {
            name: np.array([None if each == NULL_TEXT else each for each in values], object)
            for name, values in found.items()
            if values.dtype.kind in "OU"
        }
        return largest_difference(plain_outputs(found | labels), verified)

    def _inputs(self, columns: Columns) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        for name, column in self._columns.items():
            values = columns[name]
            if column.number:
                inputs[name] = numbers(name, column.type, values)
            if column.text:
                inputs[text_input_name(name)] = texts(name, column.type, values)
        return inputs

    def _refuse(self, row: int, columns: Columns) -> None:
        """Raises RequestError with the reason why the model refuses a row."""
        for each in self.signature.columns:
            if "null" in each.refuses and _is_missing(columns[each.name][row]):
                raise RequestError(f"{each.name}, row {row}: the model refuses null.", each.name)
        names = self._refusing(columns, row)
        listed = ", ".join(each.name for each in names)
        raise RequestError(
            f"{listed}, row {row}: the model refuses an unknown value.",
            names[0].name if names else None,
        )

    def _refusing(self, columns: Columns, row: int) -> list[ServedColumn]:
        unknown = [each for each in self.signature.columns if "unknown" in each.refuses]
        return [each for each in unknown if not _is_missing(columns[each.name][row])]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain_of(kind: str) -> Callable[[Array], list[Any]]:
    """Returns a function that converts an output to JSON values."""
    if kind.startswith("ARRAY<"):
        return _lists
    if kind == "STRING":
        return lambda values: [None if each == NULL_TEXT else each for each in values.tolist()]
    if kind == "INT":
        return lambda values: [None if each < 0 else each for each in values.tolist()]
    return _doubles


def _doubles(values: Array) -> list[Any]:
    """Returns None for NaN and infinity, which JSON lacks."""
    listed: list[Any] = values.tolist()
    if all(map(math.isfinite, listed)):
        return listed
    return [each if math.isfinite(each) else None for each in listed]


def _lists(values: Array) -> list[Any]:
    """Returns a list per row; None for a row with NaN."""
    if np.isfinite(values).all():
        listed: list[Any] = values.tolist()
        return listed
    return [
        None if any(map(math.isnan, row)) else [v if math.isfinite(v) else None for v in row]
        for row in values.tolist()
    ]


def _digest(inputs: Mapping[str, Array]) -> str:
    """Returns a short hash of the graph's inputs; equal rows have equal hashes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in inputs.items():
        digest.update(name.encode())
        if values.dtype == object:
            digest.update(repr((values.shape, values.tolist())).encode())
        else:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
