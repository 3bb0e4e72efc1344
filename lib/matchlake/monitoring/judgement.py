"""Judges one window of one model, and decides whether the model should be trained again."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from matchlake.model_store.scoring_model import ScoringModel
from matchlake.monitoring.input_drift import Array, DriftTest, compare_inputs, moved_scores
from matchlake.monitoring.params import MonitorParams
from matchlake.monitoring.quality import QualityTest, compare_quality
from matchlake.training.model_data import LABEL
from matchlake.training.model_training import has_prediction, score
from matchlake.training.task_metrics import Scored

_CHANGED = 2.0
"""A feature with a smaller z-score did not drift, so its effect on the scores is not computed."""


@dataclass(frozen=True)
class Judgement:
    """The findings of a window."""

    rows: int
    labels: int
    drift: DriftTest | None
    """None if there are too few rows."""
    quality: QualityTest | None
    """None if there are too few labels, or the metric is undefined."""
    main_feature: str | None
    """The drifted feature that moved the scores most; None without drift."""
    alarms: tuple[str, ...]
    """`drift`, `quality`, both or none."""
    note: str
    """The findings in words."""


def judge_window(
    model: ScoringModel,
    metric: str,
    before: pd.DataFrame,
    now: pd.DataFrame,
    params: MonitorParams,
    seed: int,
) -> Judgement:
    """Compares the rows of a window with the test part of the champion's training data.

    Both frames have the columns that the model reads, and the column `LABEL`, null where the label
    has not arrived. Each of the two tests gets half of `params.level`.
    """
    level = params.level / 2
    columns = [fitted.column for fitted in model.features.features]
    inputs = list(dict.fromkeys(columns))
    labelled = now[now[LABEL].notna()]
    if len(now) < params.min_rows or before.empty:
        note = (
            f"{len(now)} rows, fewer than {params.min_rows}: not judged"
            if len(now) < params.min_rows
            else "the test part of the training version has no rows: not judged"
        )
        return Judgement(len(now), len(labelled), None, None, None, (), note)
    drift = compare_inputs(before[inputs], now[inputs], params.resamples, seed)
    drifted = drift.p_value <= level
    main_feature = None
    if drifted:
        moved = moved_scores(lambda rows: _scores(model, rows), before[inputs], now[inputs], seed)
        z_scores = {each.feature: each.z_score for each in drift.features}
        main_feature = next((name for name in moved if z_scores[name] > _CHANGED), None)
    quality = None
    if len(labelled) >= params.min_rows:
        first, second = _scored(model, before), _scored(model, labelled)
        if min(len(first), len(second)) >= params.min_rows:
            quality = compare_quality(metric, first, second, level, params.resamples, seed)
    worse = quality is not None and quality.low > 0
    alarms = (*(["drift"] if drifted else []), *(["quality"] if worse else []))
    note = _note(drift, quality, main_feature, len(labelled), params)
    return Judgement(len(now), len(labelled), drift, quality, main_feature, alarms, note)


def _scores(model: ScoringModel, rows: pd.DataFrame) -> Array:
    """Returns one column per output: the probabilities, the distances, or the prediction."""
    made = model.score_numpy({name: rows[name] for name in rows.columns})
    for name in ("probabilities", "distances"):
        if name in made:
            return np.asarray(made[name], dtype="float64")
    return np.asarray(made["prediction"], dtype="float64").reshape(-1, 1)


def _scored(model: ScoringModel, rows: pd.DataFrame) -> Scored:
    """Scores the rows."""
    scored = score(model, rows)
    return scored.take(np.flatnonzero(has_prediction(scored)))


def _note(
    drift: DriftTest,
    quality: QualityTest | None,
    main_feature: str | None,
    labels: int,
    params: MonitorParams,
) -> str:
    largest = drift.features[0]
    text = f"inputs: p {drift.p_value:.3f}, most changed {largest.feature} (PSI {largest.psi:.3f})"
    text += f"; {main_feature} moved the scores" if main_feature else ""
    if quality is not None:
        return (
            f"{text}; {quality.metric} {quality.now:.4f} after {quality.before:.4f}, "
            f"p {quality.p_value:.3f}"
        )
    if labels < params.min_rows:
        return f"{text}; {labels} labels, fewer than {params.min_rows}: quality is not known"
    return (
        f"{text}; fewer than {params.min_rows} labelled rows have a prediction, or the metric is "
        "undefined"
    )
