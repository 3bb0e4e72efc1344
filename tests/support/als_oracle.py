"""ALS in dense NumPy, f64, straight from the objective: slow and plain, an oracle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.recommender.als.params import AlsParams

Dense = npt.NDArray[np.float64]

NUMBERS = {"alpha": 1.0, "unobserved_weight": 0.1, "regularization": 0.05}


def fixed(**chosen: Any) -> AlsParams:
    """Parameters with numbers, none of which a fit chooses from its data."""
    return AlsParams(**{**NUMBERS, **chosen})


@dataclass
class Problem:
    """`values` users x items, `seen` where there is an interaction."""

    values: Dense
    seen: npt.NDArray[np.bool_]
    params: AlsParams

    def centred(self) -> Dense:
        """Ratings less their mean, or strengths as they are."""
        if not self.params.has_bias:
            return self.values
        return np.where(self.seen, self.values - self.values[self.seen].mean(), 0.0)

    def transposed(self) -> "Problem":
        return Problem(self.values.T, self.seen.T, self.params)

    def weights_and_targets(self) -> tuple[Dense, Dense]:
        """Weight and target of every pair, those never seen included."""
        values, p = self.centred(), self.params
        if p.feedback == "explicit":
            return self.seen.astype(float), np.where(self.seen, values, 0.0)
        confidence = p.slope * values
        if p.objective == "hu_koren":
            return np.where(self.seen, 1 + confidence, 1.0), self.seen.astype(float)
        # w0 s^2 on all pairs and c (1 - s)^2 on the observed: one parabola a pair.
        weight = np.where(self.seen, confidence + p.base_weight, p.base_weight)
        pull = np.where(self.seen, confidence, 0.0)
        return weight, np.divide(pull, weight, out=np.zeros_like(pull), where=weight > 0)

    def ridges(self) -> Dense:
        n = self.seen.sum(axis=1)
        own = self.params.objective == "hu_koren"
        base = 0.0 if own else self.params.base_weight * self.values.shape[1]
        return self.params.penalty_weight * (n + base) ** self.params.nu


def solve_side(problem: Problem, other: Dense, other_bias: Dense) -> tuple[Dense, Dense]:
    """One exact half: factors and biases of the rows, the other side fixed."""
    weights, targets = problem.weights_and_targets()
    design, biased = other, problem.params.has_bias
    if biased:
        design = np.column_stack([other, np.ones(len(other))])
        targets = targets - other_bias
    rows = np.zeros((len(weights), design.shape[1]))
    for row, ridge in enumerate(problem.ridges()):
        if problem.seen[row].any():
            normal = (design.T * weights[row]) @ design + ridge * np.eye(design.shape[1])
            right = design.T @ (weights[row] * targets[row])
            rows[row] = np.linalg.lstsq(normal, right, rcond=None)[0]
    return (rows[:, :-1], rows[:, -1]) if biased else (rows, np.zeros(len(rows)))


def objective(problem: Problem, users: tuple[Dense, Dense], items: tuple[Dense, Dense]) -> float:
    """The objective as AlsParams states it, less what no factor can change."""
    p, values = problem.params, problem.centred()
    scores = users[0] @ items[0].T + users[1][:, None] + items[1][None, :]
    seen = problem.seen
    if p.feedback == "explicit":
        loss = ((values - scores)[seen] ** 2).sum()
    else:
        c = p.alpha * values[seen]
        if p.objective == "hu_koren":
            loss = ((1 + c) * (1 - scores[seen]) ** 2).sum() + (scores[~seen] ** 2).sum()
        else:
            loss = (c * (1 - scores[seen]) ** 2).sum() + p.unobserved_weight * (scores**2).sum()
    for side, (factors, bias) in ((problem, users), (problem.transposed(), items)):
        loss += side.ridges() @ ((factors**2).sum(axis=1) + bias**2)
    return float(loss)
