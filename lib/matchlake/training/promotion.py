"""Decides whether a new version of the recommender becomes champion.

Champion and new model are measured on the new test part. The served champion may have been fitted
again on all interactions of its time, including its test rows. So the measured champion is its
evaluated model, which is stored with the version. With the same split params, its training part can
be computed again. Test rows with a pair of that part are excluded for both models. With other split
params the training part is unknown, so the new version stays challenger, and a person decides. If
the champion's run, files or training data no longer exist, no comparison is possible. Then the
decision is made as if there were no champion.

A version that does not beat the baselines never becomes champion, unless conf allows it.
"""

import logging
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from matchlake.errors import InputError, ModelError, ModelGoneError
from matchlake.io.delta import Lakehouse, is_gone
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHALLENGER, CHAMPION, Decision, ModelVersion
from matchlake.model_store.mlflow_flavor import EVALUATED
from matchlake.model_store.spark import load_model
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.protocol import Recommender
from matchlake.recommender.split import Split, split
from matchlake.schemas import INTERACTIONS, ITEM_ID, USER_ID
from matchlake.training.evaluation import (
    Figures,
    baselines_not_beaten,
    evaluate,
    is_better,
    value_of,
)
from matchlake.training.params import TrainParams

_log = logging.getLogger(__name__)

SPLIT_TAG = "split"
"""Tag of a version: the split params under which it was evaluated, as JSON."""


def decide_promotion(
    tracker: Tracker,
    lakehouse: Lakehouse,
    new: tuple[Recommender, Mapping[str, Figures]],
    parts: Split,
    params: TrainParams,
    checkpoint: Checkpointer = local_checkpoint,
) -> Decision:
    """Decides on a new model by its metrics on `parts`; see `without_champion_training_rows`.

    `new` has the model, and the figures of all models by name: of the model under
    `params.algorithm`, and of the baselines.
    """
    model, measured = new
    champion = tracker.champion()
    version = None if champion is None else champion.version
    refused = no_better_than_baselines(measured, params)
    if refused is not None:
        return Decision(CHALLENGER, refused, version)
    if champion is None:
        return Decision(CHAMPION, "the first model: there was no champion")
    if champion.tags.get(SPLIT_TAG) != params.split.model_dump_json():
        return Decision(CHALLENGER, f"champion {version} was evaluated on another split", version)
    figures = measured[params.algorithm]
    try:
        both = without_champion_training_rows(
            champion, tracker, lakehouse, parts, params, checkpoint
        )
        theirs = _measure(tracker, lakehouse.spark, champion, both, params)
        if both is not parts:
            evaluated = evaluate({"new": model}, both, params.ranking, params.azure_ml_modes)
            figures = evaluated["new"]
    except ModelGoneError as error:
        reason = f"champion {version} can no longer be compared, so it is replaced: {error}"
        return Decision(CHAMPION, reason, version)
    except (ModelError, InputError) as error:
        reason = f"champion {version} cannot be measured: {error}"
        return Decision(CHALLENGER, reason, version)
    return decide(params.metric, figures, theirs, champion.version)


def no_better_than_baselines(measured: Mapping[str, Figures], params: TrainParams) -> str | None:
    """Returns why the model does not beat the baselines; None if it may become champion."""
    own, metric = params.algorithm, params.metric
    unbeaten = baselines_not_beaten(measured, own, metric)
    if not unbeaten or not params.require_better_than_baselines:
        return None
    value = value_of(measured[own], metric)
    compared = " and ".join(f"{measured[name][metric]:.6f} of {name}" for name in unbeaten)
    return (
        f"it is not better than the baselines: {metric} {value:.6f} against {compared}; change the "
        f"parameters of train.{own}, train on more interactions, or allow it with "
        "train.require_better_than_baselines=false"
    )


def without_champion_training_rows(
    champion: ModelVersion,
    tracker: Tracker,
    lakehouse: Lakehouse,
    parts: Split,
    params: TrainParams,
    checkpoint: Checkpointer = local_checkpoint,
) -> Split:
    """Removes the test rows that share a pair with the champion's training part.

    Returns `parts` itself if there are no such rows. The new test part is computed once, by
    `checkpoint`, since several metrics read it. Raises ModelError if the training part is unknown,
    and ModelGoneError if the run or the data no longer exists.
    """
    version = tracker.input_version(champion, INTERACTIONS.name)
    if version is None:
        raise ModelError(f"its run does not record the version of {INTERACTIONS.name}")
    pair = [USER_ID, ITEM_ID]
    try:
        then = lakehouse.read(INTERACTIONS.name, version)
        fitted = split(then, params.split).train.select(*pair)
        known = parts.test.join(fitted, pair, "semi").count()
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        message = f"version {version} of {INTERACTIONS.name}, its training data, no longer exists"
        raise ModelGoneError(message) from error
    if not known:
        return parts
    _log.info("%d test row(s) excluded: champion %s was fitted to them", known, champion.version)
    return Split(parts.train, checkpoint(parts.test.join(fitted, pair, "anti")))


def decide(metric: str, new: Figures, champion: Figures, version: str) -> Decision:
    """Decides on champion, if strictly better than the current champion `version`, or challenger.

    Raises InputError if the new model has no value of `metric`.
    """
    value = value_of(new, metric)
    if metric not in champion:
        reason = f"champion {version} has no {metric} for a comparison"
        return Decision(CHALLENGER, reason, version)
    compared = f"{metric} {value:.6f} against {champion[metric]:.6f} of champion {version}"
    if is_better(metric, value, champion[metric]):
        return Decision(CHAMPION, f"better: {compared}, on the same test part", version)
    return Decision(CHALLENGER, f"not better: {compared}, on the same test part", version)


def _measure(
    tracker: Tracker,
    spark: SparkSession,
    champion: ModelVersion,
    parts: Split,
    params: TrainParams,
) -> Figures:
    with tracker.files(champion, f"artifacts/{EVALUATED}") as folder:
        model = load_model(folder, spark)
        return evaluate({"champion": model}, parts, params.ranking, params.azure_ml_modes)[
            "champion"
        ]
