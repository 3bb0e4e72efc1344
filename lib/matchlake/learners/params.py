"""The parameters of learners; imports neither Spark nor a modelling library."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from matchlake.params import Params

Order = Annotated[int, Field(ge=0, le=24)]
_FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class SklearnParams(Params):
    """An estimator of scikit-learn. The page of learners lists the estimators."""

    kind: Literal["sklearn"] = "sklearn"
    estimator: str
    """The name of the estimator's class, such as HistGradientBoostingClassifier."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of its constructor. The job's seed is the random_state unless given here."""


class LightgbmParams(Params):
    """Gradient boosting by LightGBM."""

    kind: Literal["lightgbm"] = "lightgbm"
    rounds: int = Field(100, ge=1, le=100_000)
    """The number of boosting rounds."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of LightGBM, by their full names."""


class XgboostParams(Params):
    """Gradient boosting by XGBoost."""

    kind: Literal["xgboost"] = "xgboost"
    rounds: int = Field(100, ge=1, le=100_000)
    """The number of boosting rounds."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of XGBoost, by their full names."""


class SparkParams(Params):
    """An estimator of pyspark.ml, fitted on the cluster.

    For data that does not fit in one process.
    """

    kind: Literal["spark"] = "spark"
    estimator: str
    """The name of the estimator's class, such as GBTRegressor."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Its parameters. The job's seed is the estimator's seed unless given here."""


class CustomParams(Params):
    """A Python function that fits a model and returns a head."""

    kind: Literal["custom"] = "custom"
    function: str = Field(pattern=_FUNCTION)
    """The function as module:function. It takes (data, params, seed) and returns a head."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """JSON values that are passed to the function as `params`."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The time limit in seconds, after which the function is stopped."""


class RParams(Params):
    """A script in R that writes a head as JSON."""

    kind: Literal["r"] = "r"
    script: str = Field(min_length=1)
    """The path of the script where the job runs."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """JSON values that the script finds as `params` in request.json."""
    program: str = Field("Rscript", min_length=1)
    """The program that runs the script."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The time limit in seconds, after which the script is stopped."""


class SarimaxParams(Params):
    """A seasonal ARIMA model per series, by statsmodels; fits many series in parallel."""

    kind: Literal["sarimax"] = "sarimax"
    order: tuple[Order, Order, Order] = (1, 1, 1)
    """The numbers of autoregressive terms, of differences, and of moving averages."""
    seasonal_order: tuple[Order, Order, Order] = (0, 0, 0)
    """The seasonal order: the same numbers, counted in seasons."""
    season: int = Field(0, ge=0)
    """The periods of a season, such as 12 for months; 0: no season."""
    trend: Literal["n", "c", "t", "ct"] = "n"
    """None, a constant, a linear trend, or both."""
    frequency: str = Field("D", min_length=1, max_length=20)
    """The time between two rows of a series, as pandas names it: D, W-MON, MS, h."""
    horizon: int = Field(12, ge=1, le=10_000)
    """The periods to forecast after the last known one."""
    exogenous: tuple[str, ...] = ()
    """Exogenous columns. Rows without a label give their future values."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """The expected share of values between `low` and `high`."""
    max_iterations: int = Field(50, ge=1)
    """The maximum number of iterations of a fit."""

    @model_validator(mode="after")
    def _check_season(self) -> Self:
        if any(self.seasonal_order) != (self.season > 1):
            raise ValueError("seasonal_order and season go together: set both, or none of them")
        if not any((*self.order, *self.seasonal_order)) and not self.exogenous:
            raise ValueError("the model has no terms: set order or exogenous columns")
        return self

    @property
    def least_periods(self) -> int:
        """The minimum number of known periods: more than the parameters and the longest lag."""
        (p, d, q), (sp, sd, sq) = self.order, self.seasonal_order
        lost = d + sd * self.season
        terms = p + q + sp + sq + len(self.exogenous) + len(self.trend.strip("n"))
        return lost + max(2 * terms + 2, p + q + (sp + sq) * self.season + 2)


class NetworkParams(Params):
    """A neural network: made and fitted by a function of the user, or a small dense network."""

    function: str | None = Field(None, pattern=_FUNCTION)
    """The function as module:function, which takes (data, params, seed, device) and returns a
    fitted network. Null: a dense network of the following parameters."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """JSON values that are passed to the function as `params`."""
    hidden: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = (64, 32)
    """The width of each hidden layer; an empty list is a linear model."""
    activation: Literal["relu", "tanh", "gelu", "silu"] = "relu"
    """The activation of the hidden layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The dropout rate of the hidden layers."""
    epochs: int = Field(50, ge=1)
    """The maximum number of epochs."""
    batch_rows: int = Field(256, ge=1)
    """The batch size."""
    learning_rate: float = Field(1e-3, gt=0)
    """The learning rate of Adam."""
    weight_decay: float = Field(0.0, ge=0)
    """The weight decay per step, relative to the learning rate."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """The share of the rows for validation, which decides when to stop and which epoch is the
    best."""
    patience: int = Field(5, ge=1)
    """The fit ends after this number of epochs without a smaller validation loss."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the fit runs; auto: cuda if a CUDA device is available, else cpu."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The fit is stopped after this time."""


class TorchParams(NetworkParams):
    """A network of PyTorch, exported to ONNX."""

    kind: Literal["torch"] = "torch"


class KerasParams(NetworkParams):
    """A network of Keras on JAX, exported to ONNX; can also be exported in Keras' own formats."""

    kind: Literal["keras"] = "keras"


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
        """The numbers from `low` to `high` in steps of `step`."""
        return tuple(range(self.low, self.high + 1, self.step))


class ClusterSweepParams(Params):
    """Several k-means clusterings, fitted together; the best one is kept."""

    k: tuple[Clusters, ...] | ClusterRange = Field(
        ClusterRange(low=2, high=10), union_mode="left_to_right"
    )
    """The numbers of clusters: a list, or `{low, high, step}`."""
    inits: tuple[ClusterInit, ...] = Field(("k-means++",), min_length=1)
    """The ways to choose the first centres; all are tried."""
    starts: int = Field(1, ge=1, le=1000)
    """The number of random starts for each k and init."""
    metric: Literal["silhouette", "davies_bouldin", "calinski_harabasz"] = "silhouette"
    """The measure that chooses the best clustering."""

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        if not self.numbers() or 1 in self.numbers():
            raise ValueError(
                "k: a sweep needs numbers of at least 2; one cluster has no silhouette"
            )
        return self

    def numbers(self) -> tuple[int, ...]:
        """The numbers of clusters, each once."""
        values = self.k.values() if isinstance(self.k, ClusterRange) else self.k
        return tuple(dict.fromkeys(values))


class KmeansParams(Params):
    """k-means by Lloyd's algorithm; `sweep` fits many clusterings in one pass per iteration."""

    kind: Literal["kmeans"] = "kmeans"
    k: Clusters | None = None
    """The number of clusters; null only with `sweep`."""
    init: ClusterInit = "k-means++"
    """How the first centres are chosen: `k-means++` on candidates of k-means||, or `random`
    rows."""
    starts: int = Field(1, ge=1, le=1000)
    """The number of random starts; the start with the smallest inertia wins."""
    max_iterations: int = Field(300, ge=1, le=100_000)
    """The maximum number of iterations."""
    tolerance: float = Field(1e-4, ge=0)
    """The tolerance: centres have converged if the sum of their squared movements is at most this
    fraction of the mean variance of the columns, as in scikit-learn."""
    sweep: ClusterSweepParams | None = None
    """Tries several k, inits and starts, and keeps the best clustering; replaces the keys above."""

    @model_validator(mode="after")
    def _check_sweep(self) -> Self:
        if (self.k is None) == (self.sweep is None):
            raise ValueError("kmeans needs either k or sweep")
        changed = [name for name in ("init", "starts") if name in self.model_fields_set]
        if self.sweep is not None and changed:
            raise ValueError(f"{changed[0]}: set sweep.inits and sweep.starts instead")
        return self


TrainerParams = Annotated[
    SklearnParams
    | LightgbmParams
    | XgboostParams
    | KmeansParams
    | SparkParams
    | TorchParams
    | KerasParams
    | SarimaxParams
    | CustomParams
    | RParams,
    Field(discriminator="kind"),
]
"""The parameters of a learner, by its `kind`."""


Ratio = Annotated[float, Field(gt=0, le=1)]


class SyntheticRowsParams(Params):
    """Parameters of synthetic rows of rare classes, which are added to the training part only."""

    ratio: Ratio | dict[str, Ratio] = 1.0
    """The minimum size of a class, relative to the largest class: one number for all classes, or
    one per class. Classes without a number stay as they are."""
    neighbors: int = Field(5, ge=1, le=1000)
    """The number of nearest neighbours from which one is drawn."""


class SmoteParams(SyntheticRowsParams):
    """SMOTE: synthetic rows near all rows of a rare class."""

    kind: Literal["smote"] = "smote"


class BorderlineSmoteParams(SyntheticRowsParams):
    """Borderline-SMOTE: synthetic rows near the rows of a rare class that are in danger.

    A row is in danger if at least half of its nearest rows, but not all, are of other classes.
    """

    kind: Literal["borderline_smote"] = "borderline_smote"
    danger_neighbors: int = Field(10, ge=1, le=1000)
    """The number of nearest rows, of all classes, that decide whether a row is in danger."""


class AdasynParams(SyntheticRowsParams):
    """ADASYN: more synthetic rows near rows whose nearest rows are of other classes.

    The number per row is rounded, so a class may miss its ratio by some rows.
    """

    kind: Literal["adasyn"] = "adasyn"


class ClassWeightsParams(Params):
    """Weights of the training rows by their class."""

    kind: Literal["class_weights"] = "class_weights"
    weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "balanced"
    """`balanced`: rows / (classes * rows of the class), as in scikit-learn. Or one weight per
    class; classes without a weight have the weight 1."""


SyntheticRows = SmoteParams | BorderlineSmoteParams | AdasynParams
"""The kinds of synthetic rows."""
BalanceParams = Annotated[SyntheticRows | ClassWeightsParams, Field(discriminator="kind")]
"""How the classes of a training part are balanced, by its `kind`."""


class ThresholdParams(Params):
    """A decision threshold for two classes, chosen by cross-validation."""

    metric: Literal["f1", "balanced_accuracy", "accuracy"] = "f1"
    """The metric that the threshold maximizes; f1 is the F1 score of the second class."""
    folds: int = Field(5, ge=2, le=50)
    """The number of folds; each training row is scored by a fit without its fold."""
