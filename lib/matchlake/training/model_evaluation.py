"""Compares a new model of conf with the champion and a constant prediction, on the test part."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.errors import InputError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHALLENGER, Decision
from matchlake.model_store.scoring_folder import load_scoring_model
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.cluster_plots import sweep_plots
from matchlake.training.importance import Importance, column_blocks, importance_table, shuffled
from matchlake.training.model_data import LABEL
from matchlake.training.model_gate import FiguresByModel, comparable_champion, judge
from matchlake.training.model_params import ModelParams
from matchlake.training.model_plots import model_plots
from matchlake.training.model_training import (
    Trained,
    constant_of,
    has_prediction,
    read_test_rows,
    score,
)
from matchlake.training.task_metrics import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a new model on its test part."""

    figures: FiguresByModel
    decision: Decision
    test: pd.DataFrame
    """The test rows with a prediction."""
    scored: Scored
    """The predictions of the model for them."""
    importances: Mapping[str, Importance]
    """The permutation importance of the features, the most important first."""

    @property
    def counts(self) -> dict[str, float]:
        """Returns `test_rows`: the number of test rows with a prediction."""
        return {"test_rows": float(len(self.test))}


def evaluate_model(
    trained: Trained, test: DataFrame, params: ModelParams, tracker: Tracker
) -> Evaluation:
    """Scores the test part with the new model and the champion, and decides on the alias.

    Rows that either model refuses or cannot score are ignored. One Spark job reads the rows.
    """
    other, without = _champion(tracker, params, test)
    models = {"model": trained.model} | ({} if other is None else {"champion": other})
    rows = read_test_rows(test, params.keys, [each.features for each in models.values()])
    scored = {name: score(model, rows) for name, model in models.items()}
    present = np.logical_and.reduce([has_prediction(each) for each in scored.values()])
    if not present.all():
        _log.warning("%d of %d test rows have no prediction", int((~present).sum()), len(rows))
    kept = np.flatnonzero(present)
    scored = {name: each.take(kept) for name, each in scored.items()}
    constant = constant_of(trained, scored["model"])
    scored |= {} if constant is None else {"constant": constant}
    figures, decision = judge(scored, params, without)
    rows = rows.iloc[kept].reset_index(drop=True)
    return Evaluation(
        *(figures, decision, rows, scored["model"]), _importances(trained.model, rows, params)
    )


def _importances(
    model: ScoringModel, rows: pd.DataFrame, params: ModelParams
) -> dict[str, Importance]:
    """Returns the importance of the features on test rows that have a prediction."""
    chosen = params.importance
    blocks = column_blocks(model.features, chosen.groups)
    name = chosen.metric or params.deciding_metric
    label = None if params.label is None else LABEL
    try:
        return shuffled(model, rows, label, (name, blocks), chosen, params.seed)
    except InputError as error:
        _log.warning("the importance of the features was not computed: %s", error)
        return {}


def flat(figures: FiguresByModel) -> dict[str, float]:
    """Returns all metrics: `metric` for the model, `model/metric` for the others."""
    return {
        metric if name == "model" else f"{name}/{metric}": value
        for name, metrics in figures.items()
        for metric, value in metrics.items()
    }


def tables(trained: Trained, evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Returns the tables of a run by file name: importance, and all clusterings of a sweep."""
    found = {}
    if evaluation.importances:
        found["importance.json"] = importance_table(evaluation.importances)
    if trained.sweep is not None:
        found["sweep.json"] = trained.sweep.table()
    return found


def plots(trained: Trained, evaluation: Evaluation) -> "dict[str, Figure]":
    """Returns the plots of a run by file name."""
    found = model_plots(trained.model.task, evaluation.scored, evaluation.importances)
    return found | ({} if trained.sweep is None else sweep_plots(trained.sweep))


def _champion(
    tracker: Tracker, params: ModelParams, test: DataFrame
) -> tuple[ScoringModel | None, Decision]:
    """Returns the champion, if it can score the test part, and the decision if it cannot."""
    model, without = comparable_champion(tracker, params, load_scoring_model)
    columns = [] if model is None else model.columns()
    missing = [each for each in columns if each not in test.columns]
    if not missing:
        return model, without
    reason = f"champion {without.champion} reads {missing[0]}, which {params.rows} no longer has"
    return None, Decision(CHALLENGER, reason, without.champion)
