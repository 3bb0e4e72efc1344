"""Parameters of an ALS fit."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.errors import ParameterError
from matchlake.recommender.fit_params import FitParams
from matchlake.recommender.interaction_spec import Duplicates, InteractionSpec

CG_FROM_RANK = 32
"""`solver="auto"` uses conjugate gradients from this rank on."""

BLOCKS_FROM_RANK = 256
"""`solver="auto"` uses the block (subspace) solver from this rank on."""

BLOCK_SIZE = 64
"""The number of columns of a block of the block solver."""

EXPLICIT_REGULARIZATION = 0.05
"""The default of `regularization` in an explicit fit."""


class AlsParams(FitParams):
    """Parameters of `fit_als`; built from a plain mapping, dumped with `model_dump()`.

    The fit minimises one of three objectives; `n` is the number of interactions of a row and `m`
    the number of rows of the other side:

    * explicit: `sum (rating - mean - b_u - c_i - p_u.q_i)^2 + regularization * sum n^nu * |row|^2`;
    * implicit, iALS++: `sum c (t - p_u.q_i)^2 + unobserved_weight * sum over all pairs (p_u.q_i)^2
      + regularization * sum (n + unobserved_weight * m)^nu * |row|^2` with `c = alpha * weight`, or
      `c = alpha * log2(1 + weight / weight_scale)` with a `weight_scale`
      (Rendle et al. 2022, arXiv 2110.14037; there `unobserved_weight` is alpha0);
    * implicit, `objective="hu_koren"`: `sum over all pairs (1 + c) (t - p_u.q_i)^2
      + regularization * sum n^nu * |row|^2`. Here t is 1 for pairs with an interaction; t and c
      are 0 for all others (Hu, Koren and Volinsky 2008). With `nu=1` this is the objective of
      Spark MLlib, with `nu=0` that of `implicit`.

    Null in `alpha`, `unobserved_weight` and `regularization` of an implicit fit is chosen from the
    number of users, items and interactions; see `defaults.py`. The fit logs the numbers, and the
    model has them in its params. They do not depend on the unit of the weights.
    """

    feedback: Literal["explicit", "implicit"] = "implicit"
    """Fit the column `rating` (explicit) or the column `weight` (implicit)."""
    rank: int = Field(64, ge=1, le=4096)
    """Columns of the factor matrices."""
    iterations: int = Field(15, ge=1)
    """Number of iterations; each solves for all users, then for all items."""
    regularization: float | None = Field(None, ge=0)
    """Weight of the squared factors and biases; scaled by frequency, see `nu`. Null: 0.05 in an
    explicit fit, chosen from the data in an implicit fit."""
    alpha: float | None = Field(None, gt=0)
    """Implicit: weight of an observed pair per unit of `weight`. Null: weights are scaled by their
    geometric mean, so that a typical observed pair has the weight 1."""
    weight_scale: float | None = Field(None, gt=0)
    """Implicit: weights are transformed to `log2(1 + weight / weight_scale)`. Null: weights stay
    unchanged, or are scaled by their geometric mean if `alpha` is null."""
    unobserved_weight: float | None = Field(None, ge=0)
    """Implicit: weight of every pair, observed or not (alpha0 of iALS++); ignored by
    `objective="hu_koren"`. Null: chosen from the data."""
    nu: float = Field(1.0, ge=0, le=1)
    """Exponent of the frequency: 1 scales a row's regularization by its number of interactions; 0
    does not scale it (the classic form)."""
    init_std: float = Field(0.1, gt=0)
    """Standard deviation of the initial factors, before division by `sqrt(rank)`."""
    objective: Literal["ials", "hu_koren"] = "ials"
    """Implicit: the objective. `hu_koren` equals `ials` with target `(1 + c) / c` for
    observed pairs and an unobserved weight of 1."""
    biases: bool = True
    """Explicit: learn a mean and one bias per row (implicit fits have none)."""
    solver: Literal["auto", "cholesky", "cg", "blocks"] = "auto"
    """Row solver: exact, conjugate gradients with a warm start, or block by block."""
    cg_steps: int = Field(3, ge=1)
    """Conjugate-gradient steps per row and iteration."""
    nonnegative: bool = False
    """Keep factors at or above zero (biases stay free)."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the initial factors."""
    duplicates: Duplicates = "error"
    """How several rows of one (user, item) are handled: as an error, or by the row with the latest
    `event_time`, their sum or their mean."""
    execution: Literal["auto", "single_task", "distributed"] = "auto"
    """Fit in one Spark task with threads, or in blocks over all tasks; `auto` decides by memory."""
    task_memory_mb: int = Field(4096, ge=1)
    """Memory limit of one task, in MiB: `execution="auto"` decides by it, and a distributed fit
    whose blocks would need more is refused."""
    threads: int | None = Field(None, ge=1)
    """Threads of a single-task fit; null: the cores of the machine that runs the task."""
    blocks: int | None = Field(None, ge=1)
    """Distributed: blocks per side; null: two per core, and as many as `task_memory_mb` needs."""
    checkpoint_interval: int = Field(5, ge=1)
    """Iterations between two reports of a distributed fit, each with a state to resume from, and
    between two measurements on `validation`."""
    patience: int | None = Field(None, ge=1)
    """Stop early after this many validation measurements without improvement."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nonnegative and self.solver in ("cg", "blocks"):
            message = (
                f"nonnegative=True cannot be combined with solver='{self.solver}', because it has "
                "its own solver; leave solver at 'auto'"
            )
            raise ValueError(message)
        return self

    @property
    def base_weight(self) -> float:
        """Returns the weight of every pair, observed or not, in this fit's objective."""
        if self.feedback == "explicit":
            return 0.0
        return 1.0 if self.objective == "hu_koren" else self._number("unobserved_weight")

    @property
    def penalty_weight(self) -> float:
        """Returns `regularization` as a number."""
        if self.feedback == "explicit" and self.regularization is None:
            return EXPLICIT_REGULARIZATION
        return self._number("regularization")

    @property
    def slope(self) -> float:
        """Returns the weight of an observed pair per unit of its value: `alpha` as a number."""
        return 1.0 if self.feedback == "explicit" else self._number("alpha")

    def _number(self, name: str) -> float:
        value: float | None = getattr(self, name)
        if value is None:
            message = f"{name} is null: `defaults.resolve` chooses it from the data before a fit"
            raise ParameterError(message)
        return value

    @property
    def has_bias(self) -> bool:
        """Returns whether rows have a bias besides their factors."""
        return self.feedback == "explicit" and self.biases

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating; that of an implicit fit only orders items."""
        return self.feedback == "explicit"

    @property
    def measures_validation(self) -> bool:
        """Returns true: a fit can measure RMSE, or recall at 20 if implicit."""
        return True

    @property
    def value_column(self) -> str:
        """Returns the fitted column of the interactions: `rating` or `weight`."""
        return "rating" if self.feedback == "explicit" else "weight"

    @property
    def interaction_spec(self) -> InteractionSpec:
        """Returns the rules for the interactions that this fit accepts."""
        return InteractionSpec(
            value_column=self.value_column,
            nonnegative=self.feedback == "implicit",
            centered=self.has_bias,
            duplicates=self.duplicates,
        )


DEFAULTS = AlsParams()
