"""The small steps between the big ones of the jobs train_recommender and recommend."""

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.io.cuts import Cuts
from matchlake.io.tracking import Run
from matchlake.models.params import TrainParams
from matchlake.recommender.als import AlsParams, fit_als
from matchlake.recommender.model import FactorModel
from matchlake.recommender.progress import OnProgress, Progress
from matchlake.schemas import STRENGTH, USER_ID


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
