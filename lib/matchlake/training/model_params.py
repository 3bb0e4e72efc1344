"""Parameters of the models that `train_model` fits; importing them does not start Spark."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from matchlake.features.feature_set import PLAIN_NAME, FeatureName, FeatureSet
from matchlake.features.kinds import Feature
from matchlake.formulas.heads import Task
from matchlake.learners.params import BalanceParams, ThresholdParams, TrainerParams
from matchlake.learners.selection.params import SelectParams
from matchlake.params import Params, Settable
from matchlake.schemas import TableName, TableSpec, user_columns_of
from matchlake.search.params import SearchParams

METRICS = {
    "classification": (
        *("accuracy", "precision", "recall", "f1", "log_loss", "brier", "roc_auc", "pr_auc"),
    ),
    "regression": ("mae", "rmse", "rae", "rse", "r2"),
    "clustering": ("inertia", "silhouette", "davies_bouldin", "calinski_harabasz"),
    "forecasting": ("mae", "rmse", "smape", "rae", "rse", "r2"),
}
"""The metrics of each task."""
LOWER_IS_BETTER = frozenset(
    ("log_loss", "brier", "mae", "rmse", "smape", "rae", "rse", "inertia", "davies_bouldin")
)
"""Metrics for which smaller values are better."""
RESERVED = (
    *("prediction", "probabilities", "distances", "low", "high", "refusal", "model_version"),
)
"""The columns of a table of predictions besides its keys."""
DEFAULT_METRIC = {
    "classification": "log_loss", "regression": "rmse", "clustering": "silhouette",
    "forecasting": "rmse",
}  # fmt: skip
"""The default metric of each task."""

ModelName = Annotated[str, Field(pattern=PLAIN_NAME)]


class ModelSplitParams(Params):
    """How rows are split into a training part and a test part."""

    kind: Literal["random", "time", "group"] = "random"
    """`random`: by a hash of the keys. `group`: by a hash of `column`; all rows of a value are in
    the same part. `time`: the latest rows by `column` are the test part."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """The fraction of rows, or of groups, in the test part."""
    seed: int = 0
    """The seed that draws the test part; not for `time`."""
    column: str | None = None
    """The column of the groups or of the times."""

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        if (self.column is None) != (self.kind == "random"):
            need = "takes no column" if self.kind == "random" else "needs a column"
            raise ValueError(f"a split of kind {self.kind} {need}")
        return self


class GateParams(Params):
    """The promotion gate: what a new version needs to become champion."""

    confidence: float | None = Field(0.95, gt=0.5, lt=1)
    """The share of resamples of the test part in which the new version must be better than the
    champion. Null: it must only be better on the test part itself."""
    resamples: int = Field(500, ge=20, le=10_000)
    """Number of resamples of the test part."""
    sample_rows: int = Field(100_000, ge=100)
    """Maximum number of resampled rows of the test part; a larger test part is sampled."""
    require_better_than_constant: bool = True
    """A version becomes champion only if it is better in the metric than a constant prediction: the
    mean, or the frequency of each class. Not for clustering."""


class ImportanceParams(Params):
    """How the permutation importance of the features is computed."""

    repeats: int = Field(5, ge=1, le=1000)
    """Number of shuffles of each feature."""
    rows: int | None = Field(2_000, ge=10)
    """Maximum number of scored rows of the test part; a larger test part is sampled; null: all
    rows."""
    metric: str | None = None
    """The metric of the importance; null: the metric of the model."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Groups of columns that are shuffled together, by a name of the group."""


class ModelParams(Params):
    """A model of conf: its rows, its features, its trainer, and the table of its predictions."""

    rows: TableName
    """The table or view to learn from."""
    label: str | None = None
    """The column to predict; null only for clustering. Rows without a label are left out."""
    task: Literal["classification", "regression", "clustering", "forecasting"]
    """What is predicted: a class, a number, the number of a cluster, or the next values of series.
    Forecasting needs the trainer sarimax: the last key is the time, and the other keys identify the
    series."""
    split: ModelSplitParams = ModelSplitParams()
    """How the test part is chosen."""
    features: str | dict[FeatureName, Feature] = Field(default_factory=dict)
    """The features by name, as in a feature set; or the name of a set below `features.tables`. Not
    for forecasting: see `trainer.exogenous`."""
    select: SelectParams | None = None
    """Which of the features the model reads, by their scores on the training part; null: all."""
    trainer: TrainerParams
    """The estimator and its parameters."""
    search: SearchParams | None = None
    """Search the parameters of the trainer on a validation part, split off the training part. The
    final fit uses the best parameters. Null: no search."""
    balance: BalanceParams | None = None
    """How rare classes in the training part are balanced; null: not at all."""
    threshold: ThresholdParams | None = None
    """How the decision threshold of two classes is chosen; null: 0.5."""
    importance: ImportanceParams = ImportanceParams()
    """How the importance of the features is measured."""
    metric: str | None = None
    """The metric that decides on the champion; null: log_loss, rmse or silhouette."""
    gate: GateParams = GateParams()
    """The promotion gate of a new version."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The columns that identify a row; the table of predictions has them."""
    score_rows: TableName | None = None
    """The table or view that `score_model` scores; null: `rows`."""
    table: TableName
    """The table of predictions."""
    comment: str
    """The comment of this table in the catalog."""
    user_columns: tuple[str, ...] | None = None
    """The keys that are ids of persons; `[]`: none; null: `user_id`, if it is a key."""
    max_rows: int = Field(5_000_000, ge=1)
    """Maximum number of rows; more are refused, because the fit is in the memory of one process."""
    memory_mb: int = Field(4096, ge=64)
    """Maximum memory; a fit that needs more is refused. A fit needs about four copies of the
    features as doubles."""
    seed: int = 0
    """The seed of the trainer and of the resamples."""

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if (self.label is None) != (self.task == "clustering"):
            need = "takes no label" if self.task == "clustering" else "needs a label"
            raise ValueError(f"{self.task} {need}")
        read = () if isinstance(self.features, str) else self.features.items()
        leaks = [name for name, each in read if (each.column or name) == self.label]
        if leaks:
            raise ValueError(f"features.{leaks[0]} reads {self.label}, which is the label")
        taken = [key for key in self.keys if key in RESERVED]
        if taken:
            raise ValueError(f"keys: {taken[0]} is a column that score_model adds. Rename the key")
        user_columns_of(self.user_columns, self.keys)
        return self

    @model_validator(mode="after")
    def _check_forecast(self) -> Self:
        if (self.task == "forecasting") != (self.trainer.kind == "sarimax"):
            raise ValueError("the task forecasting and the trainer sarimax go together")
        if self.task != "forecasting":
            if not self.features:
                raise ValueError(f"features: {self.task} needs at least one")
            return self
        if self.features:
            raise ValueError(
                "features: forecasting cannot have features; name columns in trainer.exogenous"
            )
        if self.split.kind != "time" or self.split.column != self.keys[-1]:
            raise ValueError(
                f"split: forecasting needs kind time with the last key: column: {self.keys[-1]}"
            )
        return self

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        known = METRICS[self.task]
        for key, value in (("", self.metric), ("importance.", self.importance.metric)):
            if value is not None and value not in known:
                raise ValueError(
                    f"{key}metric {value} is not a metric of {self.task}: choose one of "
                    f"{', '.join(known)}"
                )
        return self

    @model_validator(mode="after")
    def _check_balance(self) -> Self:
        for key in ("balance", "threshold"):
            if getattr(self, key) is None:
                continue
            if self.task != "classification":
                raise ValueError(f"{key} is for classification, but the task is {self.task}")
            if self.trainer.kind == "spark":
                raise ValueError(f"{key}: the rows of trainer spark stay on the cluster")
        return self

    @model_validator(mode="after")
    def _check_experiments(self) -> Self:
        if self.select is not None and self.task == "clustering":
            raise ValueError("select: clustering has no label to score features against")
        for name in ("select", "search"):
            if self.task == "forecasting" and getattr(self, name) is not None:
                raise ValueError(f"{name}: not for forecasting")
        if self.search is not None and self.search.prune:
            raise ValueError("search.prune: trainers of models report no metric during a fit")
        return self

    @property
    def score_task(self) -> Literal["classification", "regression"]:
        """Returns the task for which features are scored."""
        return "regression" if self.task == "regression" else "classification"

    @property
    def head_task(self) -> Task:
        """Returns the task of a model with a head; not for forecasting."""
        if self.task == "forecasting":
            raise TypeError("a forecast has no head")
        return self.task

    @property
    def deciding_metric(self) -> str:
        """Returns the metric that decides on the champion."""
        return self.metric or DEFAULT_METRIC[self.task]

    @property
    def persons(self) -> tuple[str, ...]:
        """Returns the keys that are ids of persons."""
        return user_columns_of(self.user_columns, self.keys)

    def feature_set(self, name: str, declared: FeatureSet | None = None) -> FeatureSet:
        """Returns the features as a set with the keys.

        `declared` is the set that `features` names.
        """
        features = declared.features if declared is not None else self.features
        return FeatureSet.model_validate({"name": name, "keys": self.keys, "features": features})


class ModelJobsParams(Params):
    """The models of the jobs train_model and score_model."""

    names: Settable[tuple[str, ...] | None] = None
    """Names below `models`; null: all."""
    resume: Settable[bool] = False
    """`train_model`: continue the search of a failed run on the same table version and parameters.
    Otherwise its trials are removed."""


def registered_name(recommender: str, name: str) -> str:
    """Returns the registered name of the model `name`, in the schema of the recommender.

    `catalog.gold.recommender` gives `catalog.gold.NAME`, and `alice_recommender` gives
    `alice_NAME`.
    """
    before, dot, last = recommender.rpartition(".")
    own = last.removesuffix("recommender") if last.endswith("recommender") else f"{last}_"
    return f"{before}{dot}{own}{name}"


def predictions_spec(params: ModelParams) -> TableSpec:
    """Returns the table of predictions, without columns, which depend on the model and its keys."""
    return TableSpec(
        params.table,
        params.comment,
        (),
        keys=params.keys,
        user_columns=params.persons,
        written_by="score_model",
    )
