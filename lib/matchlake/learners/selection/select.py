"""`select_features` scores each feature of a table separately, and keeps the best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from matchlake.engine.frames import is_spark, to_arrow_table
from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.learners.selection.params import Method, SelectParams
from matchlake.learners.selection.redundancy import redundant
from matchlake.learners.selection.scores import Score, corrected, score_of
from matchlake.learners.selection.statistics import Measure, Source
from matchlake.learners.selection.table import TableSource

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["classification", "regression"]
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_FRACTIONAL = ("float", "double", "decimal")
_CATEGORIES = ("string", "boolean", "date")
_TASKS: Mapping[Method, tuple[Task, ...]] = {
    "pearson": ("regression",),
    "spearman": ("regression",),
    "f_regression": ("regression",),
    "anova": ("classification", "regression"),
    "fisher": ("classification", "regression"),
    "chi_square": ("classification",),
    "mutual_information": ("classification",),
    "count": ("classification", "regression"),
}


@dataclass(frozen=True)
class FeatureScore:
    """The score of one feature, and whether it is kept."""

    feature: str
    score: float | None
    """Null if the method does not score the feature; `reason` says why."""
    p_value: float | None
    """Null without a score, and for the methods fisher and count."""
    q_value: float | None
    """The p-value after the correction for the number of features."""
    rank: int | None
    """The rank; 1 is the best. Correlations are ranked by their absolute values."""
    kept: bool
    reason: str | None = None
    """Why the feature has no score, or is not kept."""


@dataclass(frozen=True)
class FeatureScores:
    """The scores of all features, the best first."""

    params: SelectParams
    scores: tuple[FeatureScore, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The features that are kept, the best first."""
        return tuple(each.feature for each in self.scores if each.kept)

    def to_pandas(self) -> "pd.DataFrame":
        """One row per feature, the best first, with the fields of `FeatureScore` as columns."""
        import pandas as pd  # noqa: PLC0415 - a second, and commands load this module

        return pd.DataFrame([vars(each) for each in self.scores])


def select_features(
    frame: Any,
    label: str,
    params: SelectParams | None = None,
    *,
    columns: Sequence[str] | None = None,
    categories: Iterable[str] = (),
    task: Task | None = None,
) -> FeatureScores:
    """Scores each column against the label, and chooses those to keep.

    A Spark frame is read once for all columns, after one job on its first rows. `bins` needs one
    more read for the quantiles, and `max_correlation` one more for the correlations. `spearman`
    sorts all rows twice per column. Other tables need no Spark. Rows without a label are ignored.
    Each column uses only the rows in which it has a finite value.

    Args:
        frame: A Spark, pandas or Polars frame, or an Arrow table.
        label: The column to predict. Strings, booleans and integers are classes.
        params: How to score and what to keep; default: ANOVA, and all features are kept.
        columns: The features; default: all other columns.
        categories: Numeric columns whose values are categories, such as codes.
        task: `classification` or `regression`; default: by the type of the label and the method.

    Raises:
        SchemaError: A column is missing.
        ParameterError: The method does not fit the label.
        InputError: There is no labelled row, or no feature is left.
    """
    params = params or SelectParams()
    source = _source(frame)
    names = list(columns) if columns is not None else [n for n in source.types if n != label]
    missing = [name for name in (label, *names) if name not in source.types]
    if missing:
        raise SchemaError.missing("the table of select_features", missing, source.types)
    task = _task_of(params.method, source.types[label], label, task)
    coded = set(categories)
    kinds = {name: _kind(source.types[name], is_code=name in coded) for name in names}
    measures = {name: _measure(params.method, kinds[name], task) for name in names}
    asked = {name: each for name, each in measures.items() if each is not None}
    bins = {
        name: params.bins
        for name, each in asked.items()
        if params.bins is not None and each == "cells" and kinds[name] == "number"
    }
    found = source.statistics(label, asked, bins, params.max_categories)
    scores = {
        name: score_of(params.method, found[name])
        if name in found
        else Score(None, None, f"{params.method} does not score a {source.types[name]}")
        for name in names
    }
    numbers = [name for name in names if kinds[name] == "number"]
    apart = {name for name in names if isinstance(found.get(name, ""), str)}
    return _chosen(scores, params, source, numbers, apart)


def _source(frame: Any) -> Source:
    if is_spark(frame):
        from matchlake.learners.selection.frame import FrameSource  # noqa: PLC0415 - brings Spark

        return FrameSource(frame)
    return TableSource(to_arrow_table(frame, "the table of select_features"))


def _kind(type_name: str, *, is_code: bool) -> str:
    """Returns how the methods treat a column: `number`, `category`, or `other`."""
    is_number = type_name.partition("(")[0] in (*_WHOLE, *_FRACTIONAL)
    if is_number and not is_code:
        return "number"
    return "category" if is_number or type_name in _CATEGORIES else "other"


def _task_of(method: Method, label_type: str, label: str, task: Task | None) -> Task:
    """Returns the task that fits label and method; raises ParameterError if there is none."""
    is_fraction = label_type.partition("(")[0] in _FRACTIONAL
    is_number = is_fraction or label_type in (*_WHOLE, "boolean")
    possible = _TASKS[method]
    if task is None:
        task = possible[0] if len(possible) == 1 else None
    if task is None:
        task = "regression" if is_fraction else "classification"
    if task == "regression" and not is_number:
        raise ParameterError(
            f"{method} needs a numeric label here, but {label} is {label_type}. Choose anova, "
            "chi_square, mutual_information, fisher or count, with the task classification."
        )
    if task == "classification" and is_fraction:
        raise ParameterError(
            f"{method} needs a label of classes here, but {label} is {label_type}. Choose pearson, "
            "spearman, f_regression, anova or count, with the task regression."
        )
    if task not in possible:
        fit = ", ".join(name for name, tasks in _TASKS.items() if task in tasks)
        raise ParameterError(f"{method} is not for {task}: choose one of {fit}.")
    return task


def _measure(method: Method, kind: str, task: Task) -> Measure | None:
    """Returns the statistics that the method needs; None if it does not score such a column."""
    if method == "count":
        return "presence"
    if method in ("pearson", "f_regression"):
        return "co_moments" if kind == "number" else None
    if method == "spearman":
        return "ranks" if kind == "number" else None
    if method in ("anova", "fisher"):
        if task == "classification":
            return "class_moments" if kind == "number" else None
        return "group_moments" if kind == "category" else None
    return "cells" if kind != "other" else None


def _chosen(
    scores: Mapping[str, Score],
    params: SelectParams,
    source: Source,
    numbers: Sequence[str],
    unscored: set[str],
) -> FeatureScores:
    """Completes the scores: ranks, corrected p-values, and whether each feature is kept."""
    names = list(scores)
    p_values = np.array(
        [np.nan if scores[n].p_value is None else scores[n].p_value for n in names], dtype=float
    )
    q_values = dict(zip(names, corrected(p_values, params.correction), strict=True))
    ranked = sorted(
        (name for name in names if scores[name].score is not None),
        key=lambda name: (-_size(scores[name]), names.index(name)),
    )
    reasons = {name: scores[name].reason for name in names if name not in unscored}
    for name in ranked:
        reasons[name] = _refusal(scores[name], float(q_values[name]), params)
    left = [name for name in ranked if reasons[name] is None]
    reasons |= _repeated([name for name in left if name in numbers], params, source)
    left = [name for name in left if reasons[name] is None]
    for name in left[params.top :] if params.top is not None else ():
        reasons[name] = f"not among the best {params.top}"
    ordered = [*ranked, *(name for name in names if name not in ranked)]
    made = tuple(
        FeatureScore(
            name,
            scores[name].score,
            scores[name].p_value,
            None if scores[name].p_value is None else float(q_values[name]),
            ranked.index(name) + 1 if name in ranked else None,
            kept=reasons.get(name) is None,
            reason=reasons.get(name) or scores[name].reason,
        )
        for name in ordered
    )
    if not any(each.kept for each in made):
        told = "; ".join(f"{each.feature}: {each.reason}" for each in made[:5])
        raise InputError(
            f"Selection by {params.method} keeps no feature. {told}. Change the selection."
        )
    return FeatureScores(params, made)


def _size(score: Score) -> float:
    return abs(score.score or 0.0)


def _refusal(score: Score, q_value: float, params: SelectParams) -> str | None:
    """Returns why a scored feature is not kept, independently of other features."""
    if params.max_p_value is not None and not q_value <= params.max_p_value:
        return f"the corrected p-value is above {params.max_p_value:g}"
    if params.min_score is not None and _size(score) < params.min_score:
        return f"the score is below {params.min_score:g}"
    return None


def _repeated(ranked: Sequence[str], params: SelectParams, source: Source) -> dict[str, str | None]:
    """Returns the features that are correlated with a better one, with the reason."""
    if params.max_correlation is None or len(ranked) < 2:  # noqa: PLR2004 - a pair
        return {}
    matrix = source.correlations(ranked)
    out = redundant(range(len(ranked)), matrix, params.max_correlation)
    return {
        ranked[each]: f"its correlation with {ranked[other]} is {r:.3f}"
        for each, (other, r) in out.items()
    }
