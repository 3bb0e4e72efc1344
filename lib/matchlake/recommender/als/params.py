"""What a caller chooses for an ALS fit."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.params import Params

CG_FROM_RANK = 32
"""`solver="auto"` takes conjugate gradients from this rank on."""

BLOCKS_FROM_RANK = 256
"""`solver="auto"` takes the block (subspace) solver from this rank on."""

BLOCK_SIZE = 64
"""Columns that the block solver solves for at a time."""


class AlsParams(Params):
    """Parameters of `fit_als`; built from a plain mapping, dumped with `model_dump()`.

    The objective that is minimised, with `n` the interactions of a row and `m` the rows of the
    other side:

    * explicit: `sum (rating - mean - b_u - c_i - p_u.q_i)^2 + regularization * sum n^nu * |row|^2`;
    * implicit: `sum c (t - p_u.q_i)^2 + unobserved_weight * sum over all pairs (p_u.q_i)^2
      + regularization * sum (n + unobserved_weight * m)^nu * |row|^2` with `c = alpha * strength`
      (Rendle et al. 2022, arXiv 2110.14037);
    * implicit, `target="hu-koren"`: `sum over all pairs (1 + c) (t - p_u.q_i)^2 + regularization *
      sum n^nu * |row|^2`, t being 1 where there was an interaction and else 0, as is c (Hu, Koren
      and Volinsky 2008): with `nu=1` what Spark MLlib solves, with `nu=0` what `implicit` does.
    """

    feedback: Literal["explicit", "implicit"] = "implicit"
    """Fit the column `rating` (explicit) or the column `strength` (implicit)."""
    rank: int = Field(64, ge=1, le=4096)
    """Columns of the factor matrices."""
    iterations: int = Field(15, ge=1)
    """Iterations; one solves for all users, then for all items."""
    regularization: float = Field(0.05, ge=0)
    """Weight of the squared factors and biases; scaled by frequency, see `nu`."""
    alpha: float = Field(1.0, gt=0)
    """Implicit: weight of an observed pair for each unit of `strength`."""
    unobserved_weight: float = Field(0.1, ge=0)
    """Implicit: weight of every pair, observed or not; ignored by `target="hu-koren"`."""
    nu: float = Field(1.0, ge=0, le=1)
    """1 scales the regularization of a row by its frequency, 0 not at all (the classic form)."""
    init_std: float = Field(0.1, gt=0)
    """Standard deviation of the initial factors, before division by `sqrt(rank)`."""
    target: Literal["one", "hu-koren"] = "one"
    """Implicit: which of the two objectives. In the first one's terms `hu-koren` makes an observed
    pair score `(1 + c) / c`, with an unobserved weight of 1."""
    biases: bool = True
    """Explicit: learn a mean and a bias a row (implicit fits have none)."""
    solver: Literal["auto", "cholesky", "cg", "blocks"] = "auto"
    """How a row is solved: exactly, by warm-started conjugate gradients, or block by block."""
    cg_steps: int = Field(3, ge=1)
    """Conjugate-gradient steps a row and iteration."""
    nonnegative: bool = False
    """Keep factors at or above zero (biases stay free)."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the initial factors."""
    duplicates: Literal["error", "last", "sum", "mean"] = "error"
    """What several rows of one (user, item) mean: an error, the one with the latest `event_time`,
    their sum or their mean."""
    schedule: Literal["auto", "one-task", "distributed"] = "auto"
    """Fit in one Spark task with threads, or in blocks over all tasks; `auto` goes by memory."""
    task_memory_mb: int = Field(4096, ge=1)
    """`schedule="auto"`: the most one task may take, in MiB."""
    threads: int | None = Field(None, ge=1)
    """Threads of a one-task fit; by default the cores of the machine that runs the task."""
    blocks: int | None = Field(None, ge=1)
    """Distributed: blocks a side; by default as many as their bytes ask for."""
    cut_every: int = Field(5, ge=1)
    """Iterations between two cuts: of the distributed schedule, and of a one-task fit with
    `held_out`, which is measured at every cut."""
    patience: int | None = Field(None, ge=1)
    """Stop early after this many measurements of the held-out part without a gain."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nonnegative and self.solver in ("cg", "blocks"):
            message = (
                f"nonnegative=True cannot go with solver='{self.solver}': "
                "it has a solver of its own; leave solver at 'auto'"
            )
            raise ValueError(message)
        return self

    @property
    def base_weight(self) -> float:
        """Weight of every pair, observed or not, in this fit's objective."""
        if self.feedback == "explicit":
            return 0.0
        return 1.0 if self.target == "hu-koren" else self.unobserved_weight

    @property
    def has_bias(self) -> bool:
        """Whether rows carry a bias beside their factors."""
        return self.feedback == "explicit" and self.biases

    @property
    def value_column(self) -> str:
        """The column of the interactions that is fitted: `rating` or `strength`."""
        return "rating" if self.feedback == "explicit" else "strength"


def needed(params: AlsParams) -> str:
    """What interactions must be, for errors."""
    return (
        f"Ids must not be null and {params.value_column} must be a finite number"
        f"{' not below 0' if params.feedback == 'implicit' else ''}: filter or fix these rows."
    )
