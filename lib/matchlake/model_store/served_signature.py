"""The inputs and outputs of a served model, as plain data inside its export.

The server has only NumPy and onnxruntime, so the signature contains all checks of a request.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from matchlake.params import Params

SIGNATURE = "matchlake.signature"
"""The key of a graph's metadata with the signature."""


class ServedColumn(Params):
    """A column of a request, and the inputs of the graph that are made from it."""

    name: str
    type: str
    """The type at fit, as Spark names it."""
    number: bool = False
    """Whether the graph reads it as a double, NaN for null."""
    text: bool = False
    """Whether the graph reads it as a string."""
    refuses: tuple[Literal["null", "unknown"], ...] = ()
    """The values that an option of a feature refuses."""


class ServedOutput(Params):
    """A column of the answer."""

    name: str
    type: str
    """The type, as Spark names it."""


class ScoringSignature(Params):
    """A model that scores rows."""

    kind: Literal["scoring"] = "scoring"
    schema_version: Literal[1] = 1
    """The schema version; a release that changes the schema increments it."""
    name: str
    task: str
    columns: tuple[ServedColumn, ...] = Field(min_length=1)
    keys: tuple[str, ...] = ()
    """Columns that a request may contain, but that are not read."""
    outputs: tuple[ServedOutput, ...] = Field(min_length=1)


class FoldIn(Params):
    """The numbers of the least squares problem of a new user; see `recommender.als.fold_in`."""

    level: float
    """The mean of all ratings; 0 in an implicit fit."""
    centered: bool
    """Whether items have a bias; values are then relative to the mean."""
    slope: float
    base: float
    gain: float
    shift: float
    base_weight: float
    """The weight of every pair, observed or not."""
    counts_all_pairs: bool
    """Whether the penalty counts every pair at `base_weight`."""
    penalty_weight: float
    nu: float
    weight_scale: float | None = None


class RecommenderSignature(Params):
    """A model that recommends items to a user."""

    kind: Literal["recommender"] = "recommender"
    schema_version: Literal[1] = 1
    """The schema version; a release that changes the schema increments it."""
    name: str
    algorithm: str
    id_type: Literal["string", "integer"]
    """The type of the ids of users and items in the fit."""
    item_id_type: Literal["string", "integer"]
    predicts_ratings: bool
    users: int
    items: int
    fold_in: FoldIn | None = None
    """Null: the model does not take new users."""


def merged(columns: Iterable[ServedColumn]) -> tuple[ServedColumn, ...]:
    """One column per name; several features may read one column."""
    found: dict[str, ServedColumn] = {}
    for each in columns:
        before = found.get(each.name)
        if before is None:
            found[each.name] = each
            continue
        refuses = tuple(dict.fromkeys((*before.refuses, *each.refuses)))
        found[each.name] = before.model_copy(
            update={
                "number": before.number or each.number,
                "text": before.text or each.text,
                "refuses": refuses,
            }
        )
    return tuple(found.values())
