"""Combines the parts of several models into the parts of one, with a struct column per model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from matchlake.engine.arrow import combined
from matchlake.recommender.protocol import ModelParts
from matchlake.recommender.sides import INDICES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_WEIGHT = "weight"

_Value = TypeVar("_Value")


def weight_of(parts: ModelParts[Any], name: str) -> float:
    """The weight of a model in a blend."""
    return parts.values[f"{_WEIGHT}.{name}"]


def nested(
    sides: tuple["DataFrame", "DataFrame"],
    members: Mapping[str, ModelParts["DataFrame"]],
    weights: Mapping[str, float],
    params: Any,
) -> ModelParts["DataFrame"]:
    """The parts of a blend; `sides` have a struct column for each model."""
    values = {f"{_WEIGHT}.{name}": weight for name, weight in weights.items()}
    values |= _named({name: parts.values for name, parts in members.items()})
    tables = _named({name: parts.tables for name, parts in members.items()})
    files = _named({name: parts.files for name, parts in members.items()})
    return ModelParts(*sides, params, values=values, tables=tables, files=files)


def member_parts(parts: ModelParts[Any], name: str) -> ModelParts[Any]:
    """The parts of one model, from those of a blend: as Spark frames, or as Arrow tables."""
    users, items = (_rows(rows, name, side) for side, rows in enumerate((parts.users, parts.items)))
    return replace(
        parts,
        users=users,
        items=items,
        params=parts.params.members[name],
        values=_of(parts.values, name),
        tables=_of(parts.tables, name),
        files=_of(parts.files, name),
        sizes=None,
    )


def _rows(rows: Any, name: str, side: int) -> Any:
    if not isinstance(rows, pa.Table):
        return rows.where(rows[name].isNotNull()).select(f"{name}.*")
    column = combined(rows[name])
    column = column.filter(column.is_valid())
    fields = dict(zip([field.name for field in column.type], column.flatten(), strict=True))
    return pa.table(fields).sort_by(INDICES[side])


def _named(given: Mapping[str, Mapping[str, _Value]]) -> dict[str, _Value]:
    """Merges mappings into one, with keys `model.key`."""
    return {
        f"{name}.{key}": value for name, values in given.items() for key, value in values.items()
    }


def _of(values: Mapping[str, _Value], name: str) -> dict[str, _Value]:
    start = f"{name}."
    return {key[len(start) :]: v for key, v in values.items() if key.startswith(start)}
