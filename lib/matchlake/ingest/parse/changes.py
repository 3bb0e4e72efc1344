"""Reads a stream of changes: rows of another database, and which of them are deleted.

Two forms are known. A tombstone of Kafka is a message without a value: its key names the deleted
row. An envelope of Debezium is a value with `op`, `before` and `after`; with schemas these lie
below `payload`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams, Columns
from matchlake.ingest.parse.casts import indices_among
from matchlake.ingest.parse.readers import Reader
from matchlake.ingest.parse.safe_cast import Mask
from matchlake.ingest.parse.validation import WhyNull, check_columns
from matchlake.ingest.rejections import ErrorCode, Rejection
from matchlake.ingest.schema import DELETE, OPERATION, UPSERT

ENVELOPE_PATHS = (
    ("after",),
    ("before",),
    ("payload", "after"),
    ("payload", "before"),
)
"""Where an envelope may hold a row."""
_OP = "op"
_UPSERTS, _DELETE = ("c", "u", "r"), ("d",)
"""Debezium's operations: create, update and read (of a snapshot); and delete."""


class Part(NamedTuple):
    """Rows of a batch with the same operation, as a reader gives them."""

    rows: npt.NDArray[np.int64]
    """Their positions in the batch."""
    values: Mapping[str, pa.Array]
    """One value per row and column."""
    is_delete: bool
    """Whether the rows are deletes, which only need the key columns."""
    why_null: WhyNull
    """Returns, for a position in the part and a column, whether the field is missing or null."""


def checked_changes(
    parts: Sequence[Part],
    rejections: dict[int, Rejection],
    columns: Columns,
    keys: Sequence[str],
) -> dict[str, pa.Array]:
    """The columns of a batch in their declared types, then `_operation`.

    Adds to the rejections, as `check_columns` does. The parts hold each row of the batch once.
    """
    count = sum(len(part.rows) for part in parts)
    order = indices_among(np.concatenate([part.rows for part in parts]), count)
    typed = []
    for part in parts:
        names = keys if part.is_delete else columns
        own = {at: rejections[row] for at, row in enumerate(part.rows) if row in rejections}
        declared = {name: columns[name] for name in names}
        typed.append(check_columns(declared, part.values, own, part.why_null))
        rejections |= {int(part.rows[at]): each for at, each in own.items()}
    result = {
        name: pa.concat_arrays(
            [
                found.get(name, pa.nulls(len(part.rows), typed[0][name].type))
                for part, found in zip(parts, typed, strict=True)
            ]
        ).take(order)
        for name in columns
    }
    is_delete = np.concatenate([np.full(len(part.rows), part.is_delete) for part in parts])
    rejected = np.zeros(count, bool)
    rejected[list(rejections)] = True
    operation = pc.if_else(pa.array(is_delete).take(order), DELETE, UPSERT)
    none = pa.scalar(None, operation.type)
    return result | {OPERATION.name: pc.if_else(pa.array(rejected), none, operation)}


class ChangeReader:
    """Reads messages with a value as rows, and messages without one as deletes by key.

    With an envelope, `reader` reads its fields.
    """

    def __init__(self, reader: Reader, keys: Reader, envelope: "Envelope | None" = None) -> None:
        self._reader = reader
        self._keys = keys
        self._envelope = envelope

    def read(self, values: pa.Array, keys: pa.Array) -> tuple[list[Part], dict[int, Rejection]]:
        """The rows in parts (the first part has no deletes), and the rejections by row.

        `keys` are the keys of messages without a value, and null for all others.
        """
        found, rejections = self._reader.read(values)
        has_key = _mask(keys.is_valid())
        for row in np.flatnonzero(_mask(values.is_null()) & ~has_key):
            text = "the message has neither a value nor a key"
            rejections[int(row)] = Rejection(ErrorCode.TOMBSTONE, text)
        tombstones = self._tombstones(np.flatnonzero(has_key), keys, rejections)
        rest = np.flatnonzero(~has_key)

        def why_null(row: int, name: str) -> ErrorCode:
            return self._reader.why_null(values, row, name)

        if self._envelope:
            return [
                *self._envelope.parts(found, rejections, rest, why_null),
                tombstones,
            ], rejections
        taken = {name: array.take(pa.array(rest)) for name, array in found.items()}
        rows = Part(rest, taken, False, lambda at, name: why_null(int(rest[at]), name))  # noqa: FBT003
        return [rows, tombstones], rejections

    def _tombstones(
        self, rows: npt.NDArray[np.int64], keys: pa.Array, rejections: dict[int, Rejection]
    ) -> Part:
        """The deletes by key; replaces the rejections of their missing values."""
        some = keys.take(pa.array(rows))
        found, refused = self._keys.read(some)
        for at, row in enumerate(rows.tolist()):
            rejections.pop(row, None)
            if at in refused:
                message = f"the key of the tombstone: {refused[at].message}"
                rejections[row] = refused[at]._replace(message=message)

        def why_null(at: int, name: str) -> ErrorCode:
            return self._keys.why_null(some, at, name)

        return Part(rows, found, is_delete=True, why_null=why_null)


class Envelope:
    """The fields of Debezium's envelopes, for rows of the declared columns."""

    def __init__(self, columns: Columns, keys: Sequence[str], *, may_be_wrapped: bool) -> None:
        self._names = {"after": tuple(columns), "before": tuple(keys)}
        self._wrappers = ("", "payload.") if may_be_wrapped else ("",)
        self.fields: Columns = {}
        """The fields as columns, which a reader of the format reads."""
        for wrapper in self._wrappers:
            path = wrapper + _OP
            op = ColumnParams(type="string", comment="c, u, r or d", required=False, path=path)
            self.fields[path] = op
            for image, names in self._names.items():
                for name in names:
                    path = f"{wrapper}{image}.{columns[name].path or name}"
                    field = columns[name].model_copy(update={"path": path})
                    self.fields[f"{wrapper}{image}.{name}"] = field

    def parts(
        self,
        found: Mapping[str, pa.Array],
        rejections: dict[int, Rejection],
        rows: npt.NDArray[np.int64],
        why_null: WhyNull,
    ) -> list[Part]:
        """The rows of the batch in two parts: upserts, and deletes by Debezium.

        `why_null` is that of the reader of the fields, for a row of the batch.
        """
        op = self._first(found, _OP)
        deleted = _mask(pc.is_in(op, pa.array(_DELETE)))
        upserted = _mask(pc.is_in(op, pa.array(_UPSERTS)))
        for row in rows[~(deleted | upserted)[rows]]:
            rejections.setdefault(int(row), _unknown(op[int(row)].as_py()))
        wrapped = _mask(found[self._wrappers[-1] + _OP].is_valid())
        made = []
        for image, some in (("after", rows[~deleted[rows]]), ("before", rows[deleted[rows]])):
            names = self._names[image]
            taken = {
                name: self._first(found, f"{image}.{name}").take(pa.array(some)) for name in names
            }

            def why(
                at: int, name: str, image: str = image, some: npt.NDArray[np.int64] = some
            ) -> ErrorCode:
                wrapper = self._wrappers[-1 if wrapped[some[at]] else 0]
                return why_null(int(some[at]), f"{wrapper}{image}.{name}")

            made.append(Part(some, taken, image == "before", why))
        return made

    def _first(self, found: Mapping[str, pa.Array], name: str) -> pa.Array:
        return pc.coalesce(*(found[wrapper + name] for wrapper in self._wrappers))


def _unknown(op: str | None) -> Rejection:
    if op is None:
        return Rejection(ErrorCode.MISSING_FIELD, "op: is required in an envelope of Debezium")
    return Rejection(ErrorCode.NOT_ALLOWED, f"op: {op!r} is not one of c, u, r, d")


def _mask(flags: pa.Array) -> Mask:
    mask: Mask = flags.fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value
    return mask
