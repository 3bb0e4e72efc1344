"""Permutation importance: how much worse a metric becomes if the values of a column are shuffled.

The rows are read and encoded once for all columns and repeats. Every feature reads one column of
the table, so shuffling that column means shuffling its feature columns (Breiman 2001).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.engine.frames import is_spark, to_arrow_table
from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.features.model import FeatureModel
from matchlake.learners.protocol import label_text
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.schemas import quote_identifier
from matchlake.training.model_params import (
    DEFAULT_METRIC,
    LOWER_IS_BETTER,
    METRICS,
    ImportanceParams,
)
from matchlake.training.task_metrics import Array, Doubles, Scored, metric, predicted_places

By = Literal["columns", "features"]
Places = npt.NDArray[np.int64]

_ALL_ROWS = ImportanceParams(rows=None)
_CHUNK = 16_384
"""The number of rows scored at a time, to limit the memory of shuffled copies."""
_BY_CODE = frozenset(("accuracy", "log_loss", "brier", "roc_auc", "pr_auc"))
"""Metrics that do not need the names of the classes."""


@dataclass(frozen=True)
class Importance:
    """The permutation importance of one or more columns: the loss that shuffles add."""

    values: tuple[float, ...]
    """One value per repeat, in units of the metric."""

    @property
    def mean(self) -> float:
        """The mean of the repeats."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """The standard deviation of the repeats."""
        return float(np.std(self.values))


def permutation_importance(
    model: ScoringModel,
    rows: Any,
    label: str | None,
    params: ImportanceParams = _ALL_ROWS,
    by: By = "columns",
    seed: int = 0,
) -> pd.DataFrame:
    """Computes the permutation importance of a model's columns or features on labelled rows.

    Args:
        model: Any scoring model; trees run as compiled code, networks by onnxruntime.
        rows: A Spark frame, which is collected once, or any table in memory.
        label: The column with the truth; None for clusters.
        params: The metric, repeats, groups of columns, and the number of sampled rows; default: all
            rows. All columns share the same shuffles.
        by: `columns` shuffles columns of the table, with all features that read them. `features`
            shuffles each feature column alone.
        seed: The same seed gives the same shuffles.

    Returns:
        One row per column, feature or group, the most important first: `name`, `mean`, `spread`
        (the standard deviation over the repeats) and `values`. A value is the loss that a shuffle
        adds: the metric, with its sign changed if larger is better.

    Raises:
        SchemaError: A column is missing.
        ParameterError: The metric is not one of the model's task.
        InputError: A value is refused by a feature, or no row has a prediction.
    """
    name = params.metric or DEFAULT_METRIC[model.task]
    if name not in METRICS[model.task]:
        reason = f"metric {name!r} is not a metric of {model.task}."
        raise ParameterError.unknown(reason, name, "Metrics", METRICS[model.task])
    blocks = column_blocks(model.features, params.groups, by)
    frame = _frame(rows, list(dict.fromkeys([*_sources(model.features), *filter(None, [label])])))
    found = shuffled(model, frame, label, (name, blocks), params, seed)
    return pd.DataFrame(
        [
            {"name": each, "mean": of.mean, "spread": of.spread, "values": list(of.values)}
            for each, of in found.items()
        ]
    )


def importance_table(importances: Mapping[str, Importance]) -> pd.DataFrame:
    """The table of a run: `feature`, `mean` and `spread`."""
    rows = [(name, each.mean, each.spread) for name, each in importances.items()]
    return pd.DataFrame(rows, columns=["feature", "mean", "spread"])


def shuffled(
    model: ScoringModel,
    frame: pd.DataFrame,
    label: str | None,
    chosen: tuple[str, Mapping[str, Sequence[int]]],
    params: ImportanceParams,
    seed: int,
) -> dict[str, Importance]:
    """Returns the importance by name, the largest first; `chosen` has the metric and the blocks."""
    random = np.random.default_rng(seed)
    if params.rows is not None and len(frame) > params.rows:
        frame = frame.iloc[np.sort(random.choice(len(frame), params.rows, replace=False))]
    shuffles = [random.permutation(len(frame)) for _ in range(params.repeats)]
    truth = frame[label].to_numpy() if label else None
    found = importances(model, frame, truth, (*chosen, shuffles))
    return dict(sorted(found.items(), key=lambda pair: -pair[1].mean))


def importances(
    model: ScoringModel,
    frame: pd.DataFrame,
    truth: Array | None,
    chosen: tuple[str, Mapping[str, Sequence[int]], Sequence[Places]],
) -> dict[str, Importance]:
    """Returns the importance by name; `chosen` has the metric, columns and shuffles."""
    name, blocks, shuffles = chosen
    columns = {each.column: frame[each.column] for each in model.features.features}
    matrix = np.ascontiguousarray(np.atleast_2d(model.features.transform_numpy(columns)))
    scorer = _Scorer(model, matrix, truth, name)
    before = scorer.loss(None, ())
    if np.isnan(before):
        raise InputError(
            f"The metric {name} has no value on these rows: a row has no prediction, or all rows "
            "have the same class. Remove such rows, or choose another metric."
        )
    work = [(block, shuffle) for block in blocks.values() for shuffle in shuffles]
    threads = min(numba.get_num_threads(), len(work)) or 1
    with ThreadPoolExecutor(threads) as pool:
        losses = list(pool.map(lambda each: scorer.loss(each[1], each[0]), work))
    added = np.reshape(losses, (len(blocks), len(shuffles))) - before
    return {
        each: Importance(tuple(map(float, values)))
        for each, values in zip(blocks, added, strict=True)
    }


def column_blocks(
    features: FeatureModel, groups: Mapping[str, Sequence[str]], by: By = "columns"
) -> dict[str, list[int]]:
    """Returns the positions of the feature columns that are shuffled together, by name.

    A column gets the names of its features. Raises SchemaError for a group with an unknown column,
    and ParameterError for a column in two groups, or for groups of features.
    """
    outputs = features.outputs()
    if by == "features":
        if groups:
            raise ParameterError("groups are possible only with by='columns'.")
        return {output.name: [place] for place, output in enumerate(outputs)}
    places: dict[str, list[int]] = {}
    for place, output in enumerate(outputs):
        places.setdefault(output.source, []).append(place)
    return grouped_blocks(places, _sources(features), groups)


def grouped_blocks(
    places: Mapping[str, Sequence[int]],
    names: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, list[int]]:
    """Returns the positions of each column and of each group; raises as `column_blocks` does."""
    grouped = [column for columns in groups.values() for column in columns]
    unknown = [column for column in grouped if column not in places]
    if unknown:
        raise SchemaError.missing("the columns that the model reads", unknown, places)
    twice = [column for column in grouped if grouped.count(column) > 1]
    if twice:
        raise ParameterError(f"groups: the column {twice[0]} is in two groups.")
    alone = {name: list(places[column]) for column, name in names.items() if column not in grouped}
    return alone | {
        name: [place for column in columns for place in places[column]]
        for name, columns in groups.items()
    }


def _sources(features: FeatureModel) -> dict[str, str]:
    """Returns the names of the features that read each column."""
    columns: dict[str, list[str]] = {}
    for fitted in features.features:
        columns.setdefault(fitted.column, []).append(fitted.name)
    return {column: " and ".join(names) for column, names in columns.items()}


def _frame(rows: Any, needed: Sequence[str]) -> pd.DataFrame:
    if not is_spark(rows):
        rows = to_arrow_table(rows, "rows")
    available = rows.columns if is_spark(rows) else rows.column_names
    missing = [name for name in needed if name not in available]
    if missing:
        raise SchemaError.missing("rows", missing, available)
    if is_spark(rows):
        rows = rows.select(*map(quote_identifier, needed)).toArrow()
    frame: pd.DataFrame = rows.select(list(needed)).to_pandas()
    if frame.empty:
        raise InputError("There are no rows on which the importance can be measured.")
    return frame


class _Scorer:
    """Computes a metric as a loss, on encoded rows with some columns shuffled."""

    def __init__(
        self, model: ScoringModel, matrix: Doubles, truth: Array | None, name: str
    ) -> None:
        self._model, self._matrix, self._name = model, matrix, name
        self._sign = 1.0 if name in LOWER_IS_BETTER else -1.0
        self._made = Scored(np.empty(0))
        if model.task == "classification":
            known = tuple(model.head.labels or ())
            found, values = pd.factorize(np.asarray(truth), use_na_sentinel=False)
            texts = [label_text(each) for each in values]
            classes = (*known, *sorted(set(texts) - set(known)))
            codes = np.array([classes.index(each) for each in texts])[found]
            names: Any = range(len(classes)) if name in _BY_CODE else classes
            given = codes if name in _BY_CODE else np.array(classes, object)[codes]
            self._made = Scored(np.empty(0), given, classes=tuple(names))
        elif truth is not None:
            self._made = Scored(np.empty(0), np.asarray(truth).astype(np.float64))

    def loss(self, shuffle: Places | None, block: Sequence[int]) -> float:
        """Returns the loss if the columns `block` of each row are taken from another row."""
        parts = []
        for start in range(0, len(self._matrix), _CHUNK):
            rows = self._matrix[start : start + _CHUNK]
            if shuffle is not None:
                rows = rows.copy()
                rows[:, block] = self._matrix[shuffle[start : start + _CHUNK][:, None], block]
            parts.append(self._model.score_features(rows))
        outputs = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
        return self._sign * metric(self._scored(outputs, shuffle, block), self._name)

    def _scored(
        self, outputs: Mapping[str, Array], shuffle: Places | None, block: Sequence[int]
    ) -> Scored:
        if self._model.task == "regression":
            return replace(self._made, prediction=outputs["prediction"])
        if self._model.task == "classification":
            known = outputs["probabilities"]
            zeros = np.zeros((len(known), len(self._made.classes) - known.shape[1]))
            scores = np.column_stack([known, zeros]) if zeros.size else known
            names = np.array(self._made.classes)
            chosen = predicted_places(known, self._model.head.decision_threshold)
            return replace(self._made, prediction=names[chosen], scores=scores)
        rows = self._matrix
        if shuffle is not None:
            rows = rows.copy()
            rows[:, block] = self._matrix[shuffle[:, None], block]
        return Scored(outputs["prediction"], scores=outputs["distances"], features=rows)
