"""Small steps of the jobs train_recommender and recommend."""

import logging
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.io.mlflow_tracking import Run
from matchlake.io.telemetry import count, observe, set_level
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.progress import Progress, ProgressCallback
from matchlake.recommender.protocol import FitContext, Recommender, TrainingInputs
from matchlake.recommender.sides import ITEM, USER
from matchlake.schemas import ITEM_ID, USER_ID, WEIGHT
from matchlake.training.params import TrainParams
from matchlake.training.side_features import Sides

_log = logging.getLogger(__name__)

_TRAINED_WITH = "train.json"


def with_weight(interactions: DataFrame, params: TrainParams) -> DataFrame:
    """Adds `weight` (double) by `params.weight`; raises ConfigError if it is not valid."""
    try:
        added = interactions.withColumn(WEIGHT, F.expr(params.weight).cast("double"))
        added.schema  # noqa: B018 - Spark Connect analyses a plan only when it is asked about it
    except AnalysisException as error:
        raise ConfigError(
            f"train.weight {params.weight!r} is not a valid expression over the columns "
            f"{', '.join(interactions.columns)}: {str(error).splitlines()[0]}"
        ) from None
    return added


def save_training_params(folder: Path, params: TrainParams) -> None:
    """Saves the parameters in a model's folder, so that scoring uses the same weights."""
    (folder / _TRAINED_WITH).write_text(params.model_dump_json(), encoding="utf-8")


def load_training_params(folder: Path, today: TrainParams) -> TrainParams:
    """Loads the parameters that `save_training_params` wrote into `folder`.

    If they are missing or no longer valid, it logs a warning and returns `today`.
    """
    try:
        return TrainParams.model_validate_json((folder / _TRAINED_WITH).read_bytes())
    except (OSError, ValidationError) as error:
        message = str(error).splitlines()[0]
        _log.warning(
            "the model has no valid training parameters, so those of conf are used: %s", message
        )
        return today


def fit_model(
    interactions: DataFrame,
    params: TrainParams,
    sides: Sides,
    checkpoints: FitCheckpoints,
    *callbacks: ProgressCallback,
) -> Recommender:
    """Fits `params.algorithm`, with `checkpoints` for its states.

    The fit starts from the last checkpoint. If the algorithm reports progress, each callback is
    called after every checkpoint.
    """

    def callback(progress: Progress) -> None:
        checkpoints.mark(progress.iteration)
        _record(params.algorithm, progress)
        for call in callbacks:
            call(progress)

    users, items, encoders = sides
    inputs = TrainingInputs(interactions, users, items, encoders)
    context = FitContext(checkpoints, checkpoints.last_state(), callback)
    algorithm = algorithm_of(params.algorithm)
    return cast("Recommender", algorithm.resolve(algorithm.fit)(inputs, params.fit_params, context))


def log_diagnostics(run: Run, model: Recommender) -> None:
    """Logs the diagnostics of a fit, and the effects of given features, if it has them."""
    diagnostics = dict(model.diagnostics())
    if diagnostics:
        run.log_metrics(diagnostics)
    if "feature_effects" not in model.capabilities:
        return
    effects = model.feature_effects().where("source != 'history'").toArrow().to_pandas()
    for side, rows in effects.groupby("side"):
        run.log_table(rows.drop(columns="side"), f"{side}_feature_effects.json")


def with_newcomers(
    model: Recommender, history: DataFrame, sides: Sides, checkpoint: Checkpointer
) -> Recommender:
    """Adds users that are new since the fit, from ratings and features.

    Users with ratings in the fit stay as they are. Users with only features in the fit are folded
    in once they have ratings. Models with features also fold in items; other models keep the items
    of their fit. Two small Spark jobs per side, and the fold-in if there are new rows.
    """
    folded: dict[str, DataFrame | None] = {}
    if "fold_in_users" in model.capabilities:
        users = _newcomers(model.known(USER), history, sides.users, USER_ID)
        folded |= {"users": users[0], "user_features": users[1]} if users else {}
    if "features" in model.capabilities:
        items = _newcomers(model.known(ITEM), history, sides.items, ITEM_ID)
        folded |= {"items": items[0], "item_features": items[1]} if items else {}
    new_rows = {name: rows for name, rows in folded.items() if rows is not None}
    return model.fold_in(**new_rows, checkpoint=checkpoint) if new_rows else model


def _newcomers(
    known: DataFrame, history: DataFrame, features: DataFrame | None, key: str
) -> tuple[DataFrame, DataFrame | None] | None:
    """Returns ratings and features of new ids; None if there are none."""
    rated = history.join(known.where("n_interactions > 0").select(key), key, "anti")
    settled = known.select(key).join(rated, key, "anti")
    described = None if features is None else features.join(settled, key, "anti")
    if rated.isEmpty() and (described is None or described.isEmpty()):
        return None
    return rated, described


def _record(algorithm: str, progress: Progress) -> None:
    """Records the progress as telemetry metrics."""
    count("matchlake.fit.iterations", len(progress.each) or 1, algorithm=algorithm)
    set_level("matchlake.fit.loss", progress.loss, algorithm=algorithm)
    for seconds in progress.each or (progress.seconds,):
        observe("matchlake.fit.seconds", seconds, algorithm=algorithm)


def progress_to(run: Run) -> ProgressCallback:
    """Returns a callback for a fit that logs loss and seconds to `run`, by iteration."""

    def log(progress: Progress) -> None:
        metrics = {"loss": progress.loss, "fit_seconds": progress.seconds}
        run.log_metrics(metrics, step=progress.iteration)

    return log
