"""A factor model as NumPy arrays, with the methods of `FactorModel`, for serving without Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.errors import InputError
from matchlake.recommender.als.fold_in import FixedSide, fixed_side, fold_in, history_problem
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.id_types import known_place, places_of
from matchlake.recommender.numpy_factors import Matrix, NumpyFactorRecommender, NumpySide, Row
from matchlake.recommender.protocol import Capability, ModelParts
from matchlake.recommender.sides import ITEM, USER


@dataclass(frozen=True)
class NumpyFactorModel(NumpyFactorRecommender):
    """A fitted factor model in memory; row `n` of a matrix belongs to entry `n` of the ids.

    `user_factors` has shape (users, rank), `item_factors` (items, rank), biases (users,) and
    (items,). `user_interactions` and `item_interactions` count the interactions that trained a row.
    """

    user_ids: Sequence[Any]
    item_ids: Sequence[Any]
    user_factors: Matrix
    item_factors: Matrix
    user_bias: Matrix
    item_bias: Matrix
    mean: float
    params: AlsParams
    user_interactions: npt.NDArray[np.int64] | None = None
    item_interactions: npt.NDArray[np.int64] | None = None

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"recommend_users", "similar", "related", "fold_in_users", "fold_in_items"}
    )

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
    ) -> "NumpyFactorModel":
        """Adds or changes users, given as {user_id: {item_id: value}}, and items likewise."""
        sides = [
            side
            if new is None
            else side.with_rows(
                {key: self._folded(number, history) for key, history in new.items()}
            )
            for number, (side, new) in enumerate(zip(self.sides, (users, items), strict=True))
        ]
        return of_sides((sides[USER], sides[ITEM]), self.mean, self.params)

    def fold_in_user(self, history: Mapping[Any, float]) -> Row:
        """Returns the row of a new or changed user from {item_id: rating or weight}.

        It is the exact solution of the user's least squares problem, with fixed items. Unknown
        items are ignored. If no item is known, the row `is_cold_start`. Raises InputError for a
        value that a fit refuses.
        """
        return self._folded(USER, history)[0]

    def fold_in_item(self, history: Mapping[Any, float]) -> Row:
        """Like `fold_in_user`, for an item, from {user_id: rating or weight}."""
        return self._folded(ITEM, history)[0]

    def explain(self, item_id: Any, history: Mapping[Any, float]) -> list[tuple[Any, float]]:
        """The contribution of each item of a history to the score of `item_id`, largest first.

        The score of a user folded in from `history` is `mean` + the item's bias + the sum of these
        contributions: with A the user's normal matrix, item j adds
        `w_j t_j * design_j' A^-1 design` (Hu, Koren and Volinsky 2008, section 5). Raises KeyError
        if `item_id` is unknown.
        """
        problem = history_problem(self._history(USER, history), self._fixed_items)
        design = problem.design[problem.columns].astype(np.float64)
        weights = problem.slope * problem.values + problem.base
        targets = problem.gain * problem.values - problem.offsets[problem.columns]
        targets += problem.shift * (problem.values > 0)
        normal = (design.T * weights) @ design + problem.ridge[0] * np.eye(design.shape[1])
        if problem.gram.size:
            normal += problem.gram
        solution = np.linalg.lstsq(normal, self._design(item_id), rcond=None)[0]
        parts = targets * (design @ solution)
        order = np.argsort(-parts, kind="stable")
        return [(self.item_ids[problem.columns[j]], float(parts[j])) for j in order]

    @cached_property
    def sides(self) -> tuple[NumpySide, NumpySide]:
        """Users and items."""
        return (
            NumpySide(self.user_ids, self.user_factors, self.user_bias, self.user_interactions),
            NumpySide(self.item_ids, self.item_factors, self.item_bias, self.item_interactions),
        )

    @property
    def level(self) -> float:
        """Returns the mean, which is added to every score."""
        return self.mean

    @property
    def by_popularity(self) -> bool:
        """Returns whether unknown queries get the targets with the most interactions."""
        return self.params.feedback == "implicit"

    def _design(self, item_id: Any) -> npt.NDArray[np.float64]:
        row: npt.NDArray[np.float64] = self._fixed_items.rows[
            known_place(self.sides[ITEM].places, item_id, "item_id")
        ].astype(float)
        if self.params.has_bias:
            row[self.params.rank] = 1.0
        return row

    def _folded(self, side: int, history: Mapping[Any, float]) -> tuple[Row, int]:
        csr = self._history(side, history)
        fixed = self._fixed_items if side == USER else self._fixed_users
        factors, bias = fold_in(csr, fixed)
        count = len(csr.columns)
        return Row(factors[0], float(bias[0]), is_cold_start=not count), count

    def _history(self, side: int, history: Mapping[Any, float]) -> Csr:
        """Returns the history of one row of `side`, as compressed rows over the other side."""
        values = self._values(history)
        others = self.sides[1 - side].places
        indices = places_of(others, list(history))
        known = indices >= 0
        columns = indices[known].astype(np.int32)
        return csr_from_pairs(np.zeros_like(columns), columns, values[known], (1, len(others)))

    def _values(self, history: Mapping[Any, float]) -> Matrix:
        values = np.array(list(history.values()), np.float32)
        invalid = ~np.isfinite(values)
        spec = self.params.interaction_spec
        if spec.nonnegative:
            invalid |= values < 0
        if invalid.any():
            key, value = list(history.items())[int(np.argmax(invalid))]
            raise InputError(f"{key!r}: {value!r} cannot be folded in. {spec.requirement}")
        return values

    @cached_property
    def _fixed_items(self) -> FixedSide:
        return fixed_side(self.item_factors, self.item_bias, self.mean, self.params)

    @cached_property
    def _fixed_users(self) -> FixedSide:
        return fixed_side(self.user_factors, self.user_bias, self.mean, self.params)


def of_sides(
    sides: tuple[NumpySide, NumpySide], mean: float, params: AlsParams
) -> NumpyFactorModel:
    """The model of two sides."""
    users, items = sides
    return NumpyFactorModel(
        user_ids=users.ids,
        item_ids=items.ids,
        user_factors=users.factors,
        item_factors=items.factors,
        user_bias=users.bias,
        item_bias=items.bias,
        mean=mean,
        params=params,
        user_interactions=users.n_interactions,
        item_interactions=items.n_interactions,
    )


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyFactorModel:
    """The model of saved parts, in memory."""
    rank = parts.params.rank
    sides = NumpySide.of(parts.users, USER, rank), NumpySide.of(parts.items, ITEM, rank)
    return of_sides(sides, parts.values["mean"], parts.params)
