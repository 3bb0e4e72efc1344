"""Parameters of the linear item-item models."""

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class EaseParams(FitParams):
    """Regularization and size limit of EASE, and its extensions EDLAE and RDLAE."""

    regularization: float = Field(250.0, gt=0)
    """Ridge penalty on the weights, in units of squared values; without a value column this is a
    number of users."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Mean share of a history that a fit hides; it penalizes frequent items more (EDLAE)."""
    max_self_weight: float = Field(0.0, ge=0, lt=1)
    """Maximum weight of an item for itself: 0 is EASE; larger values are RDLAE, which favors rare
    items."""
    max_items: int = Field(10_000, ge=1, le=40_000)
    """Maximum number of items. The fit needs 24 bytes times the squared number of items: 2.4 GB for
    10,000."""
    value_column: str | None = None
    """Column with the value of an interaction; null gives each (user, item) the value 1."""


class SlimParams(FitParams):
    """Penalties of SLIM, and the accuracy and memory of a fit.

    Both penalties are in units of squared values; without a value column this is a number of users.
    """

    l1_regularization: float = Field(2.0, ge=0)
    """Lasso penalty: two items need more common users than this to have a weight."""
    l2_regularization: float = Field(50.0, gt=0)
    """Ridge penalty on the weights."""
    nonnegative: bool = True
    """Keep weights at or above 0. If false, weights can be negative, and the fit takes longer."""
    tolerance: float = Field(1e-4, gt=0)
    """Tolerance: the fit of an item ends if no step changes a weight by more than this."""
    max_iterations: int = Field(1000, ge=1)
    """Maximum number of rounds of steps for one item."""
    memory_mb: int = Field(1024, ge=0)
    """Memory of a task for rows of the item-item matrix, in MiB; other rows are computed when
    needed."""
    threads: int | None = Field(None, ge=1)
    """Threads of a fit without Spark; null: one per core. On Spark every task has one thread."""
    value_column: str | None = None
    """Column with the value of an interaction; null gives each (user, item) the value 1."""


EASE, SLIM = EaseParams(), SlimParams()
"""The default parameters."""
