"""The small steps between the big ones of the jobs train_recommender and recommend."""

import logging
from pathlib import Path

from pydantic import ValidationError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.io.fit_checkpoints import Cuts
from matchlake.io.mlflow_tracking import Run
from matchlake.recommender.als.fit import AlsParams, fit_als
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.checkpoint import Cut
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.progress import OnProgress, Progress
from matchlake.schemas import ITEM_ID, STRENGTH, USER_ID
from matchlake.training.params import TrainParams
from matchlake.training.side_features import Sides

_log = logging.getLogger(__name__)

_TRAINED_WITH = "train.json"


def with_strength(interactions: DataFrame, params: TrainParams) -> DataFrame:
    """Adds `strength` (double) as `params` say; raises ConfigError where that is no expression."""
    try:
        added = interactions.withColumn(STRENGTH, F.expr(params.strength).cast("double"))
        added.schema  # noqa: B018 - Spark Connect analyses a plan only when it is asked about it
    except AnalysisException as error:
        raise ConfigError(
            f"train.strength {params.strength!r} is no expression over the columns "
            f"{', '.join(interactions.columns)}: {str(error).splitlines()[0]}"
        ) from None
    return added


def note_training(folder: Path, params: TrainParams) -> None:
    """Notes beside a saved model what it was trained with: answers have to read history alike."""
    (folder / _TRAINED_WITH).write_text(params.model_dump_json(), encoding="utf-8")


def trained_with(folder: Path, today: TrainParams) -> TrainParams:
    """What `note_training` noted of the model in `folder`.

    Those of `today`, and a warning, where nothing is noted, or nothing that conf could say now.
    """
    try:
        return TrainParams.model_validate_json((folder / _TRAINED_WITH).read_bytes())
    except (OSError, ValidationError) as error:
        told = str(error).splitlines()[0]
        _log.warning("the model does not say what it was trained with, so conf does: %s", told)
        return today


def fit_model(
    interactions: DataFrame, params: TrainParams, sides: Sides, cuts: Cuts, *told: OnProgress
) -> FactorModel | MatchboxModel:
    """Fits what `params.algorithm` names; see `fit_with_cuts` and `fit_matchbox`.

    A Matchbox fit tells nobody of its progress but the log, and is not resumed.
    """
    if params.algorithm == "als":
        return fit_with_cuts(interactions, params.als, cuts, *told)
    users, items, encoders = sides
    return fit_matchbox(interactions, users, items, params.matchbox, encoders=encoders, cut=cuts)


def log_posterior(run: Run, model: FactorModel | MatchboxModel) -> None:
    """Logs how well the chains have mixed, and which feature pulls which way, of a Matchbox fit."""
    if not isinstance(model, MatchboxModel):
        return
    for found in model.mixing():
        figures = {"mean": found.mean, "r_hat": found.r_hat, "effective": found.effective}
        run.log_metrics({f"mixing/{found.name}/{name}": v for name, v in figures.items()})
    for name, weights in (("user", model.user_weights()), ("item", model.item_weights())):
        given = weights.where("source != 'history'")
        if not given.isEmpty():
            run.log_table(given.toArrow().to_pandas(), f"{name}_weights.json")


def with_newcomers(
    model: MatchboxModel, history: DataFrame, sides: Sides, cut: Cut
) -> MatchboxModel:
    """The model with users and items that came after the fit, from ratings and features.

    Who had ratings in the fit stays as he is; who was known by features only is folded in again
    once he has ratings. Two small Spark jobs a side, and the fold-in if anyone came.
    """
    users = _newcomers(model.users, history, sides.users, USER_ID)
    items = _newcomers(model.items, history, sides.items, ITEM_ID)
    found = model
    if users is not None:
        found = found.with_users(cut(model.fold_in_users(*users)))
    if items is not None:
        found = found.with_items(cut(model.fold_in_items(*items)))
    return found


def _newcomers(
    known: DataFrame, history: DataFrame, features: DataFrame | None, key: str
) -> tuple[DataFrame, DataFrame | None] | None:
    """Their ratings and features; None where nobody came."""
    rated = history.join(known.where("observed > 0").select(key), key, "anti")
    settled = known.select(key).join(rated, key, "anti")
    described = None if features is None else features.join(settled, key, "anti")
    if rated.isEmpty() and (described is None or described.isEmpty()):
        return None
    return rated, described


def known_and_new_users(model: FactorModel, history: DataFrame) -> DataFrame:
    """`user_id`, `factors`, `bias` of the model's users, and of those of `history` it lacks.

    The latter came after the model was trained; they are folded in from their own interactions.
    """
    known = model.users.select(USER_ID, "factors", "bias")
    newcomers = history.join(known, USER_ID, "anti")
    return known.unionByName(model.fold_in_users(newcomers).select(USER_ID, "factors", "bias"))


def fit_with_cuts(
    interactions: DataFrame, params: AlsParams, cuts: Cuts, *told: OnProgress
) -> FactorModel:
    """`fit_als` that keeps its states in `cuts`, and starts from the last one it finds there."""

    def on_progress(progress: Progress) -> None:
        cuts.mark(progress.iteration)
        for tell in told:
            tell(progress)

    state = cuts.last_state()
    return fit_als(interactions, params, cut=cuts, start=state, on_progress=on_progress)


def progress_to(run: Run) -> OnProgress:
    """What a fit calls at every cut: logs loss and seconds to `run`, by iteration."""

    def log(progress: Progress) -> None:
        metrics = {"loss": progress.loss, "fit_seconds": progress.seconds}
        run.log_metrics(metrics, step=progress.iteration)

    return log
