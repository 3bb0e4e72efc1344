"""The promotion gate: decides whether a new version of a model of conf becomes champion.

The new version and the champion score the same test rows. The rows are resampled with replacement,
many times. The new version becomes champion if it is better on the test part, and in a large enough
share of the resamples. The new version must also be better than a constant prediction.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from matchlake.errors import ModelError, ModelGoneError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHALLENGER, CHAMPION, Decision
from matchlake.model_store.scoring_folder import SCORING
from matchlake.training.model_params import LOWER_IS_BETTER, METRICS, GateParams, ModelParams
from matchlake.training.task_metrics import Scored, measure, metric, metric_of_rows

Model = TypeVar("Model")
FiguresByModel = Mapping[str, Mapping[str, float]]
"""The metrics of `model`, and of `champion` and `constant` if they exist."""

TEST_PART = "test_part"
"""Tag of a version: the table, the label and the split of its test part, as JSON."""
_WITHOUT_RESAMPLES = GateParams(confidence=None)


def test_part(params: ModelParams) -> str:
    """Returns the properties that two comparable versions must share, as JSON."""
    same = {"rows", "label", "task", "split", "keys"}
    return json.dumps(params.model_dump(mode="json", include=same), sort_keys=True)


@dataclass(frozen=True)
class Comparison:
    """The comparison of two versions by one metric, on the same rows."""

    metric: str
    value: float
    """The metric of the new version."""
    other: float
    """The metric of the champion."""
    won: float
    """The share of resamples in which the new version is better."""
    low: float
    """The difference, new minus champion: the quantile 0.05 over the resamples."""
    high: float
    """The quantile 0.95 of the difference."""
    resamples: int

    @property
    def is_better(self) -> bool:
        """Returns whether the new version is strictly better on the rows themselves."""
        return is_better(self.metric, self.value, self.other)

    def __str__(self) -> str:
        """Returns the comparison in words."""
        text = f"{self.metric} {self.value:.6f} against {self.other:.6f}"
        if not self.resamples:
            return text
        return (
            f"{text}; better in {self.won:.1%} of {self.resamples} resamples, difference "
            f"{self.low:+.6f} to {self.high:+.6f} in 90% of them"
        )


def is_better(name: str, value: float, other: float) -> bool:
    """Returns whether `value` is strictly better than `other`; a missing value is never better."""
    if np.isnan(other):
        return not np.isnan(value)
    return value < other if name in LOWER_IS_BETTER else value > other


def compare(name: str, new: Scored, champion: Scored, gate: GateParams, seed: int) -> Comparison:
    """Compares two versions that scored the same rows in the same order."""
    random = np.random.default_rng(seed)
    value, other = metric(new, name), metric(champion, name)
    if gate.confidence is None:
        return Comparison(name, value, other, 1.0, 0.0, 0.0, 0)
    if len(new) > gate.sample_rows:
        drawn = random.choice(len(new), gate.sample_rows, replace=False)
        new, champion = new.take(drawn), champion.take(drawn)
    ours, theirs = metric_of_rows(new, name), metric_of_rows(champion, name)
    draws = (random.integers(0, len(new), len(new)) for _ in range(gate.resamples))
    pairs = np.array([(ours(rows), theirs(rows)) for rows in draws])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return Comparison(name, value, other, 0.0, float("nan"), float("nan"), 0)
    won = np.mean([is_better(name, *pair) for pair in pairs])
    low, high = np.quantile(pairs[:, 0] - pairs[:, 1], (0.05, 0.95))
    return Comparison(name, value, other, float(won), float(low), float(high), len(pairs))


def comparable_champion(
    tracker: Tracker, params: ModelParams, load: Callable[[Path], Model]
) -> tuple[Model | None, Decision]:
    """Returns the champion's model, or None, and the decision if there is no comparison."""
    champion = tracker.champion()
    if champion is None:
        return None, Decision(CHAMPION, "the first model: there was no champion")
    version = champion.version
    if champion.tags.get(TEST_PART) != test_part(params):
        reason = f"champion {version} was evaluated on other rows, label, keys or split"
        return None, Decision(CHALLENGER, reason, version)
    try:
        with tracker.files(champion, f"artifacts/{SCORING}") as folder:
            return load(folder), Decision(CHALLENGER, "", version)
    except ModelGoneError as error:
        reason = f"champion {version} can no longer be compared, so it is replaced: {error}"
        return None, Decision(CHAMPION, reason, version)
    except ModelError as error:
        reason = f"champion {version} cannot be compared: {error}"
        return None, Decision(CHALLENGER, reason, version)


def judge(
    scored: Mapping[str, Scored], params: ModelParams, without: Decision
) -> tuple[FiguresByModel, Decision]:
    """Returns the metrics, and the decision by the deciding metric.

    `scored` has `model`, and `champion` and `constant` if they exist. `without` is the decision
    without a champion.
    """
    name = params.deciding_metric
    found = {
        each: compare(name, scored["model"], scored[each], gate, params.seed)
        for each, gate in (("champion", params.gate), ("constant", _WITHOUT_RESAMPLES))
        if each in scored
    }
    figures = {each: measure(values, METRICS[params.task]) for each, values in scored.items()}
    return figures, decide(found.get("champion"), found.get("constant"), params.gate, without)


def decide(
    comparison: Comparison | None, constant: Comparison | None, gate: GateParams, without: Decision
) -> Decision:
    """Decides on champion or challenger, with the reason.

    `comparison` is with the champion, `constant` with a constant prediction. None means not
    compared. `without` is the decision if there is no comparison with a champion.
    """
    version = without.champion
    if gate.require_better_than_constant and constant is not None and not constant.is_better:
        return Decision(
            CHALLENGER,
            f"it is not better than a constant prediction: {constant.metric} {constant.value:.6f} "
            f"against {constant.other:.6f}; allow it with gate.require_better_than_constant: false",
            version,
        )
    if comparison is None:
        return without
    on = f"{comparison}; against champion {version} on the same test rows"
    if not comparison.is_better:
        return Decision(CHALLENGER, f"not better: {on}", version)
    if gate.confidence is not None and comparison.won < gate.confidence:
        return Decision(CHALLENGER, f"not significantly better: {on}", version)
    return Decision(CHAMPION, f"better: {on}", version)
