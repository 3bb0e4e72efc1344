"""Whether a new version becomes champion.

Both are measured on today's test part. The champion that is measured is not the one that serves,
which may have been fitted again on all interactions of its day and would then be asked about rows
it was fitted to: it is the model as evaluated on its day, which travels with the version. Under
the same split params its training part lies within today's, as long as events come in order. Under
others nothing is known, so the new version is left as challenger for a person to decide.
"""

import logging
from dataclasses import dataclass

from pyspark.sql import SparkSession

from matchlake.errors import ModelError
from matchlake.io.tracking import CHALLENGER, CHAMPION, ModelVersion, Tracker
from matchlake.models.evaluation import Figures, evaluate, is_better, value_of
from matchlake.models.folder import load_model
from matchlake.models.params import TrainParams
from matchlake.models.pyfunc import EVALUATED
from matchlake.recommender.split import Split

_log = logging.getLogger(__name__)

SPLIT_TAG = "split"
"""Tag of a version: the split params under which it was evaluated, as JSON."""


@dataclass(frozen=True)
class Decision:
    """The alias of a new version, and why."""

    alias: str
    reason: str


def judge(
    tracker: Tracker, spark: SparkSession, new: Figures, parts: Split, params: TrainParams
) -> Decision:
    """Decides on a new model with the figures `new`, measured on `parts`."""
    champion = tracker.champion()
    if champion is None:
        return Decision(CHAMPION, "the first model: there was no champion")
    if champion.tags.get(SPLIT_TAG) != params.split.model_dump_json():
        return Decision(CHALLENGER, f"champion {champion.version} was evaluated on another split")
    try:
        theirs = _measure(tracker, spark, champion, parts, params)
    except ModelError as error:
        return Decision(CHALLENGER, f"champion {champion.version} cannot be measured: {error}")
    return decide(params.metric, new, theirs, champion.version)


def decide(metric: str, new: Figures, champion: Figures, version: str) -> Decision:
    """Champion if strictly better than the figures of the champion, `version`; a tie is not.

    Raises InputError where the new model has no value of `metric`.
    """
    mine = value_of(new, metric)
    if metric not in champion:
        return Decision(CHALLENGER, f"champion {version} has no {metric} to compare with")
    compared = f"{metric} {mine:.6f} against {champion[metric]:.6f} of champion {version}"
    if is_better(metric, mine, champion[metric]):
        return Decision(CHAMPION, f"better: {compared}, on the same test part")
    return Decision(CHALLENGER, f"not better: {compared}, on the same test part")


def _measure(
    tracker: Tracker,
    spark: SparkSession,
    champion: ModelVersion,
    parts: Split,
    params: TrainParams,
) -> Figures:
    with tracker.files(champion, f"artifacts/{EVALUATED}") as folder:
        model = load_model(spark, folder)
        return evaluate({"champion": model}, parts, params.ranking, params.modes)["champion"]
