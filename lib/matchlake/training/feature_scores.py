"""The feature selection of a model of conf: the kept features, the table and the plot of scores."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from matchlake.features.feature_set import FeatureSet
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import Run
from matchlake.learners.selection.select import FeatureScores, select_features
from matchlake.profiling.plots import COLORS
from matchlake.schemas import Column, TableSpec
from matchlake.training.model_data import LABEL
from matchlake.training.model_params import ModelParams

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

FEATURE_SCORES = TableSpec(
    "gold.feature_scores",
    "The scores of the columns that a model may read, and which of them it reads.",
    (
        Column("model", "STRING", "Registered name of the model", nullable=False),
        Column("run_id", "STRING", "The MLflow run of the training", nullable=False),
        Column("feature", "STRING", "The column of the table", nullable=False),
        Column("method", "STRING", "How it was scored", nullable=False),
        Column("score", "DOUBLE", "The score; null without one"),
        Column("p_value", "DOUBLE", "The p-value of the score; null without one"),
        Column("q_value", "DOUBLE", "The p-value, corrected for the number of columns"),
        Column("rank", "INT", "Rank; 1 is the best; correlations by their absolute values"),
        Column("kept", "BOOLEAN", "Whether the model reads the column", nullable=False),
        Column("reason", "STRING", "Why the column has no score, or is not kept"),
    ),
    keys=("run_id", "feature"),
    user_columns=(),
    written_by="train_model",
)
_MOST_BARS = 30


def selected(
    train: DataFrame, params: ModelParams, features: FeatureSet
) -> tuple[FeatureSet, FeatureScores | None]:
    """Selects features. Returns the feature set with the kept columns, and the scores.

    Only rows of the training part `train` are read. Without `select` all features are kept. Raises
    InputError if no feature is kept.
    """
    if params.select is None:
        return features, None
    columns = dict.fromkeys(features.column(name) for name in features.features)
    coded = [
        features.column(name) for name, each in features.features.items() if each.form != "number"
    ]
    scores = select_features(
        train, LABEL, params.select, columns=list(columns), categories=coded, task=params.score_task
    )
    kept = {n: each for n, each in features.features.items() if features.column(n) in scores.kept}
    _log.info(
        "%s keeps %d of %d columns: %s",
        *(params.select.method, len(scores.kept), len(columns), ", ".join(scores.kept)),
    )
    return features.model_copy(update={"features": kept}), scores


def write_scores(lake: Lakehouse, run: Run, scores: FeatureScores) -> None:
    """Writes the scores to `gold.feature_scores`, and a table and a plot to the run."""
    rows = [
        (run.model, run.run_id, each.feature, scores.params.method, each.score, each.p_value,
         each.q_value, each.rank, each.kept, each.reason)
        for each in scores.scores
    ]  # fmt: skip
    lake.append(lake.frame(rows, FEATURE_SCORES), FEATURE_SCORES)
    run.log_table(scores.to_pandas(), "feature_scores.json")
    run.log_figure(draw_scores(scores), "feature_scores.png")


def draw_scores(scores: FeatureScores) -> "Figure":
    """Plots the scores as bars, the best first; features with grey bars are not kept."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = [each for each in scores.scores if each.score is not None][:_MOST_BARS]
    figure = Figure(figsize=(7, max(2.4, 1 + 0.25 * len(shown))), layout="constrained")
    axes = figure.add_subplot()
    lengths = _lengths([abs(each.score or 0.0) for each in shown])
    colors = [COLORS[0] if each.kept else COLORS[2] for each in shown]
    axes.barh(range(len(shown)), lengths, color=colors)
    axes.set_yticks(range(len(shown)), [each.feature for each in shown])
    axes.invert_yaxis()
    axes.set_title(f"{scores.params.method}: blue columns are kept", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _lengths(scores: Sequence[float]) -> list[float]:
    """Returns the bar lengths.

    An infinite score is drawn 10% longer than the largest finite one.
    """
    finite = [each for each in scores if each != float("inf")]
    longest = 1.1 * max(finite, default=1.0)
    return [min(each, longest) for each in scores]
