"""The small steps between the big ones of the jobs train_recommender and recommend."""

from collections.abc import Callable

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.io.tracking import Run
from matchlake.models.params import TrainParams
from matchlake.recommender.model import FactorModel
from matchlake.recommender.progress import Progress
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


def progress_to(run: Run) -> Callable[[Progress], None]:
    """What a fit calls at every cut: logs loss and seconds to `run`, by iteration."""

    def log(progress: Progress) -> None:
        metrics = {"loss": progress.loss, "fit_seconds": progress.seconds}
        run.log_metrics(metrics, step=progress.iteration)

    return log
