"""Measures a new model of conf on its test part, beside the champion and a constant prediction."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from matchlake.errors import InputError, ModelError, ModelGoneError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHALLENGER, CHAMPION, Decision, ModelVersion
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.cluster_plots import sweep_plots
from matchlake.training.importance import Importance, column_blocks, shuffled
from matchlake.training.model_data import LABEL
from matchlake.training.model_gate import compare, decide
from matchlake.training.model_params import METRICS, GateParams, ModelParams
from matchlake.training.model_plots import model_plots
from matchlake.training.model_training import (
    Trained,
    constant_of,
    has_prediction,
    read_test_rows,
    score,
)
from matchlake.training.task_metrics import Scored, measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

TEST_PART = "test_part"
"""Tag of a version: the table, the label and the split of its test part, as JSON."""
_UNSURE = GateParams(confidence=None)


@dataclass(frozen=True)
class Evaluation:
    """A new model on its test part."""

    figures: Mapping[str, Mapping[str, float]]
    """The metrics of `model`, and of `champion` and `constant`, if there are these."""
    decision: Decision
    test: pd.DataFrame
    """The test rows with a prediction."""
    scored: Scored
    """The predictions of the model for them."""
    importances: Mapping[str, Importance]
    """What shuffles of a feature cost, the most important first."""

    @property
    def counts(self) -> dict[str, float]:
        """`test_rows`: the rows of the test part that have a prediction."""
        return {"test_rows": float(len(self.test))}


def test_part(params: ModelParams) -> str:
    """What two versions need to have in common to be compared."""
    same = {"rows", "label", "task", "split", "keys"}
    return json.dumps(params.model_dump(mode="json", include=same), sort_keys=True)


def evaluate_model(
    trained: Trained, test: DataFrame, params: ModelParams, tracker: Tracker
) -> Evaluation:
    """Scores the test part with the new model and the champion, and decides on the alias.

    Rows that one of them refuses or cannot score do not count. One Spark job reads the rows.
    """
    champion = tracker.champion()
    other, without = _champion(champion, tracker, params, test)
    models = {"model": trained.model} | ({} if other is None else {"champion": other})
    rows = read_test_rows(test, params.keys, list(models.values()))
    scored = {name: score(model, rows) for name, model in models.items()}
    present = np.logical_and.reduce([has_prediction(each) for each in scored.values()])
    if not present.all():
        _log.warning("%d of %d test rows have no prediction", int((~present).sum()), len(rows))
    kept = np.flatnonzero(present)
    scored = {name: each.take(kept) for name, each in scored.items()}
    constant = constant_of(trained, scored["model"])
    scored |= {} if constant is None else {"constant": constant}
    figures = {name: measure(each, METRICS[params.task]) for name, each in scored.items()}
    name = params.deciding_metric
    found = {
        each: compare(name, scored["model"], scored[each], gate, params.seed)
        for each, gate in (("champion", params.gate), ("constant", _UNSURE))
        if each in scored
    }
    decision = decide(found.get("champion"), found.get("constant"), params.gate, without)
    rows = rows.iloc[kept].reset_index(drop=True)
    return Evaluation(
        *(figures, decision, rows, scored["model"]), _importances(trained.model, rows, params)
    )


def _importances(
    model: ScoringModel, rows: pd.DataFrame, params: ModelParams
) -> dict[str, Importance]:
    """The importance of the features on test rows that have a prediction."""
    chosen = params.importance
    blocks = column_blocks(model.features, chosen.groups)
    name = chosen.metric or params.deciding_metric
    label = None if params.label is None else LABEL
    try:
        return shuffled(model, rows, label, (name, blocks), chosen, params.seed)
    except InputError as error:
        _log.warning("the importance of the features is not measured: %s", error)
        return {}


def flat(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """All metrics in one mapping: `metric` for the model, `model/metric` for the others."""
    return {
        metric if name == "model" else f"{name}/{metric}": value
        for name, metrics in figures.items()
        for metric, value in metrics.items()
    }


def tables(trained: Trained, evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """The tables of a run by file name: importance, and all clusterings of a sweep."""
    found = {}
    if evaluation.importances:
        rows = [(n, each.mean, each.spread) for n, each in evaluation.importances.items()]
        found["importance.json"] = pd.DataFrame(rows, columns=["feature", "mean", "spread"])
    if trained.sweep is not None:
        found["sweep.json"] = trained.sweep.table()
    return found


def plots(trained: Trained, evaluation: Evaluation) -> "dict[str, Figure]":
    """The plots of a run by file name."""
    found = model_plots(trained.model.task, evaluation.scored, evaluation.importances)
    return found | ({} if trained.sweep is None else sweep_plots(trained.sweep))


def _champion(
    champion: ModelVersion | None, tracker: Tracker, params: ModelParams, test: DataFrame
) -> tuple[ScoringModel | None, Decision]:
    """The champion's model; and the decision without a comparison, if it cannot be compared."""
    if champion is None:
        return None, Decision(CHAMPION, "the first model: there was no champion")
    version = champion.version
    if champion.tags.get(TEST_PART) != test_part(params):
        reason = f"champion {version} was evaluated on other rows, label, keys or split"
        return None, Decision(CHALLENGER, reason, version)
    try:
        with tracker.files(champion, f"artifacts/{SCORING}") as folder:
            model = load_scoring_model(folder)
    except ModelGoneError as error:
        reason = f"champion {version} can no longer be compared with, so it is replaced: {error}"
        return None, Decision(CHAMPION, reason, version)
    except ModelError as error:
        reason = f"champion {version} cannot be measured: {error}"
        return None, Decision(CHALLENGER, reason, version)
    missing = [each for each in model.columns() if each not in test.columns]
    if missing:
        reason = f"champion {version} reads {missing[0]}, which {params.rows} no longer has"
        return None, Decision(CHALLENGER, reason, version)
    return model, Decision(CHALLENGER, "", version)
