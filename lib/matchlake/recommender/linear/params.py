"""Parameters of the linear item-item models."""

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class EaseParams(FitParams):
    """Regularization and size limit of EASE, and its extensions EDLAE and RDLAE."""

    regularization: float = Field(250.0, gt=0)
    """Ridge penalty on the weights, in units of squared values: users, without a value column."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a history that a fit hides on average; penalizes frequent items more (EDLAE)."""
    max_self_weight: float = Field(0.0, ge=0, lt=1)
    """Largest weight of an item for itself: 0 is EASE, more is RDLAE, which favors rare items."""
    max_items: int = Field(10_000, ge=1, le=40_000)
    """Limit of items: the fit takes 24 bytes times their square, 2.4 GB for 10,000."""
    value_column: str | None = None
    """Column with the value of an interaction; null gives each (user, item) the value 1."""


class SlimParams(FitParams):
    """Penalties of SLIM, and how exactly and in how much memory it is fitted.

    Both penalties are in units of squared values: users, without a value column.
    """

    l1_regularization: float = Field(2.0, ge=0)
    """Lasso penalty: an item needs more users in common with another to have a weight for it."""
    l2_regularization: float = Field(50.0, gt=0)
    """Ridge penalty on the weights."""
    nonnegative: bool = True
    """Weights at or above 0. Otherwise items can count against others; the fit takes longer."""
    tolerance: float = Field(1e-4, gt=0)
    """A fit of an item ends if no step changes a weight by more than this."""
    max_iterations: int = Field(1000, ge=1)
    """Rounds of steps for one item at most."""
    memory_mb: int = Field(1024, ge=0)
    """MiB that a task has for rows of the item-item matrix; the others are computed when needed."""
    threads: int | None = Field(None, ge=1)
    """Threads of a fit without Spark; null: the cores. On Spark every task has one."""
    value_column: str | None = None
    """Column with the value of an interaction; null gives each (user, item) the value 1."""


EASE, SLIM = EaseParams(), SlimParams()
"""The default parameters."""
