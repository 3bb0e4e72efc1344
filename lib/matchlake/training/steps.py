"""The small steps between the big ones of the jobs train_recommender and recommend."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.io.fit_checkpoints import Cuts
from matchlake.io.mlflow_tracking import Run
from matchlake.recommender.als.fit import AlsParams, fit_als
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.checkpoint import Cut
from matchlake.recommender.columns import require_columns
from matchlake.recommender.matchbox.encoding import Encoders
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.progress import OnProgress, Progress
from matchlake.schemas import INTERACTIONS, ITEM_ID, STRENGTH, USER_ID
from matchlake.training.params import SideFeatures, TrainParams

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


class Sides(NamedTuple):
    """What is known of users and items, a row an id; None where nothing is."""

    users: DataFrame | None = None
    items: DataFrame | None = None


def input_versions(lakehouse: Lakehouse, params: TrainParams) -> dict[str, int]:
    """The current version of each table that a fit reads, by name; of sides, where they exist."""
    sides = (params.features.users, params.features.items)
    named = [side.source for side in sides if side and params.algorithm == "matchbox"]
    tables = [INTERACTIONS.name, *filter(lakehouse.exists, named)]
    return {table: lakehouse.version(table) for table in tables}


def read_sides(
    lakehouse: Lakehouse,
    params: TrainParams,
    interactions: DataFrame,
    versions: Mapping[str, int] | None = None,
) -> Sides:
    """The feature columns that a Matchbox fit reads, a row for every id of `interactions` too.

    They are read as of `versions`, else as they are now. An id without a row of its own gets one
    without values, which the encoders then count as missing; how many there are is logged. One
    Spark job a side.
    """
    wanted = params.features
    if params.algorithm != "matchbox":
        return Sides()
    each = ((wanted.users, USER_ID), (wanted.items, ITEM_ID))
    return Sides(*(_side(lakehouse, side, interactions, key, versions or {}) for side, key in each))


def fit_model(
    interactions: DataFrame, params: TrainParams, sides: Sides, cuts: Cuts, *told: OnProgress
) -> FactorModel | MatchboxModel:
    """Fits what `params.algorithm` names; see `fit_with_cuts` and `fit_matchbox`.

    A Matchbox fit tells nobody of its progress but the log, and is not resumed.
    """
    if params.algorithm == "als":
        return fit_with_cuts(interactions, params.als, cuts, *told)
    named = (("users", params.features.users), ("items", params.features.items))
    encoders = Encoders(*(side.feature_set(name) if side else None for name, side in named))
    return fit_matchbox(interactions, *sides, params.matchbox, encoders=encoders, cut=cuts)


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


def _side(
    lakehouse: Lakehouse,
    wanted: SideFeatures | None,
    interactions: DataFrame,
    key: str,
    versions: Mapping[str, int],
) -> DataFrame | None:
    if wanted is None:
        return None
    if not lakehouse.exists(wanted.source):
        _log.warning("%s is not there: the fit has no features by %s", wanted.source, key)
        return None
    declared = wanted.feature_set("side")
    columns = dict.fromkeys(declared.column(name) for name in declared.features)
    source = lakehouse.read(wanted.source, versions.get(wanted.source))
    require_columns(source, (key, *columns), wanted.source)
    known = source.select(key, *columns)
    lacking = interactions.select(key).distinct().join(known, key, "anti")
    count = lacking.count()
    if count:
        text = "%d %s(s) with ratings have no row in %s: their features count as missing"
        _log.warning(text, count, key, wanted.source)
    return known.unionByName(lacking, allowMissingColumns=True)


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
