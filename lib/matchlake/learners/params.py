"""What a user chooses of a learner; imports neither Spark nor a library of models."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from matchlake.params import Params


class SklearnParams(Params):
    """An estimator of scikit-learn. The page of learners lists the estimators."""

    kind: Literal["sklearn"] = "sklearn"
    estimator: str
    """The name of the estimator's class, such as HistGradientBoostingClassifier."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its constructor. The job's seed is its random_state unless given here."""


class LightgbmParams(Params):
    """Gradient boosting by LightGBM."""

    kind: Literal["lightgbm"] = "lightgbm"
    rounds: int = Field(100, ge=1, le=100_000)
    """The number of boosting rounds."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of LightGBM, by their full names."""


class CustomParams(Params):
    """A Python function that fits a model and returns a head."""

    kind: Literal["custom"] = "custom"
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """The function as module:function. It takes (data, params, seed) and returns a head."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the function gets as its params."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The function is stopped after this time."""


ClusterInit = Literal["k-means++", "random"]
Clusters = Annotated[int, Field(ge=1, le=10_000)]


class ClusterRange(Params):
    """Numbers of clusters from `low` to `high`, both included."""

    low: Clusters
    high: Clusters
    step: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high {self.high} is below low {self.low}")
        return self

    def values(self) -> tuple[int, ...]:
        """The numbers."""
        return tuple(range(self.low, self.high + 1, self.step))


class ClusterSweepParams(Params):
    """Several k-means clusterings at once, of which the best one is kept."""

    k: tuple[Clusters, ...] | ClusterRange = Field(
        ClusterRange(low=2, high=10), union_mode="left_to_right"
    )
    """The numbers of clusters: a list, or `{low, high, step}`."""
    inits: tuple[ClusterInit, ...] = Field(("k-means++",), min_length=1)
    """How the first centres are chosen; each one is tried."""
    starts: int = Field(1, ge=1, le=1000)
    """Starts with other random numbers for each k and init."""
    metric: Literal["silhouette", "davies_bouldin", "calinski_harabasz"] = "silhouette"
    """The measure that chooses the best clustering."""

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        if not self.numbers() or 1 in self.numbers():
            raise ValueError("k: a sweep needs numbers of 2 or more; one cluster has no silhouette")
        return self

    def numbers(self) -> tuple[int, ...]:
        """The numbers of clusters, each once."""
        values = self.k.values() if isinstance(self.k, ClusterRange) else self.k
        return tuple(dict.fromkeys(values))


class KmeansParams(Params):
    """k-means by Lloyd's algorithm; with `sweep` many at once, in one pass per iteration."""

    kind: Literal["kmeans"] = "kmeans"
    k: Clusters | None = None
    """The number of clusters; null only with `sweep`."""
    init: ClusterInit = "k-means++"
    """How the first centres are chosen: `k-means++` on candidates of k-means||, or `random`
    rows."""
    starts: int = Field(1, ge=1, le=1000)
    """Starts with other random numbers; the smallest inertia wins."""
    max_iterations: int = Field(300, ge=1, le=100_000)
    """A clustering stops after so many iterations."""
    tolerance: float = Field(1e-4, ge=0)
    """Centres have converged if the sum of their squared movements is at most this part of the
    mean variance of the columns, as in scikit-learn."""
    sweep: ClusterSweepParams | None = None
    """Tries several k, inits and starts, and keeps the best; it has these keys itself."""

    @model_validator(mode="after")
    def _check_sweep(self) -> Self:
        if (self.k is None) == (self.sweep is None):
            raise ValueError("kmeans needs either k or sweep")
        changed = [name for name in ("init", "starts") if name in self.model_fields_set]
        if self.sweep is not None and changed:
            raise ValueError(f"{changed[0]}: set sweep.inits and sweep.starts instead")
        return self


TrainerParams = Annotated[
    SklearnParams | LightgbmParams | KmeansParams | CustomParams, Field(discriminator="kind")
]
"""The parameters of a learner, by its `kind`."""


Ratio = Annotated[float, Field(gt=0, le=1)]


class SmoteParams(Params):
    """Synthetic rows of rare classes, in the training part only."""

    kind: Literal["smote"] = "smote"
    ratio: Ratio | dict[str, Ratio] = 1.0
    """The rows of a class, divided by those of the largest class, at least. One number for all
    classes, or one per class; the other classes stay as they are."""
    neighbors: int = Field(5, ge=1, le=1000)
    """The neighbours of a row, one of which is drawn."""


class ClassWeightsParams(Params):
    """Weights of the training rows by their class."""

    kind: Literal["class_weights"] = "class_weights"
    weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "balanced"
    """`balanced`: rows / (classes * rows of the class), as in scikit-learn. Or one weight per
    class; classes without one have the weight 1."""


BalanceParams = Annotated[SmoteParams | ClassWeightsParams, Field(discriminator="kind")]
"""What is done about rare classes, by its `kind`."""


class ThresholdParams(Params):
    """The probability above which the second of two classes is predicted, chosen by folds."""

    metric: Literal["f1", "balanced_accuracy", "accuracy"] = "f1"
    """What the threshold makes largest; f1 is that of the second class."""
    folds: int = Field(5, ge=2, le=50)
    """Fits on parts of the training rows; each row is scored by a fit that has not seen it."""
