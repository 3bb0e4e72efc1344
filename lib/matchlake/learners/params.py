"""What a user chooses of a learner; imports neither Spark nor a library of models."""

from typing import Annotated, Any, Literal

from pydantic import Field

from matchlake.params import Params

_FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


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


class XgboostParams(Params):
    """Gradient boosting by XGBoost."""

    kind: Literal["xgboost"] = "xgboost"
    rounds: int = Field(100, ge=1, le=100_000)
    """The number of boosting rounds."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of XGBoost, by their full names."""


class SparkParams(Params):
    """An estimator of pyspark.ml, fitted on the cluster: for more rows than one process takes."""

    kind: Literal["spark"] = "spark"
    estimator: str
    """The name of the estimator's class, such as GBTRegressor."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Its parameters. The job's seed is its seed unless given here."""


class CustomParams(Params):
    """A Python function that fits a model and returns a head."""

    kind: Literal["custom"] = "custom"
    function: str = Field(pattern=_FUNCTION)
    """The function as module:function. It takes (data, params, seed) and returns a head."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the function gets as its params."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The function is stopped after this time."""


class RParams(Params):
    """A script in R that writes a head as JSON."""

    kind: Literal["r"] = "r"
    script: str = Field(min_length=1)
    """The path of the script where the job runs."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the script finds as params in request.json."""
    program: str = Field("Rscript", min_length=1)
    """The program that runs it."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The script is stopped after this time."""


class NetworkParams(Params):
    """A network: a function of the user makes and fits it, or it is a small dense one."""

    function: str | None = Field(None, pattern=_FUNCTION)
    """The function as module:function, which takes (data, params, seed, device) and returns a
    fitted network. Null: a dense network of the following parameters."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the function gets as its params."""
    hidden: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = (64, 32)
    """The width of each hidden layer; empty: a linear model."""
    activation: Literal["relu", "tanh", "gelu", "silu"] = "relu"
    """The activation of the hidden layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The share of hidden values that a step of training leaves out."""
    epochs: int = Field(50, ge=1)
    """The most passes over the rows."""
    batch_rows: int = Field(256, ge=1)
    """Rows per step."""
    learning_rate: float = Field(1e-3, gt=0)
    """The step size of Adam."""
    weight_decay: float = Field(0.0, ge=0)
    """The decay of weights per step, relative to the step size."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """The share of the rows that decides when to stop, and which epoch is the best."""
    patience: int = Field(5, ge=1)
    """The fit ends after so many epochs without a smaller loss of the validation rows."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the fit runs; auto: cuda, if there is a device."""
    timeout_seconds: float = Field(3600.0, gt=0)
    """The fit is stopped after this time."""


class TorchParams(NetworkParams):
    """A network of PyTorch, exported to ONNX."""

    kind: Literal["torch"] = "torch"


class KerasParams(NetworkParams):
    """A network of Keras on JAX, exported to ONNX; exports in Keras' own formats are possible."""

    kind: Literal["keras"] = "keras"


TrainerParams = Annotated[
    SklearnParams | LightgbmParams | XgboostParams | CustomParams | TorchParams | KerasParams,
    Field(discriminator="kind"),
]
"""The parameters of a learner, by its `kind`."""
