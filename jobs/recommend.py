"""The champion of the model registry -> gold.recommendations."""

import logging
import sys

from pyspark.sql import functions as F

from matchlake.models.folder import load_model
from matchlake.models.pyfunc import FACTORS
from matchlake.models.training import known_and_new_users, with_strength
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS
from matchlake.views import publish_views

_log = logging.getLogger("matchlake.recommend")


def run(runtime: Runtime) -> None:
    """Replaces the table in one commit by the champion's best items of every user with history."""
    lakehouse, config = runtime.lakehouse, runtime.config
    history = with_strength(lakehouse.read(INTERACTIONS.name), config.train)
    champion = runtime.tracker.require_champion()
    with runtime.tracker.files(champion, f"artifacts/{FACTORS}") as folder:
        model = load_model(runtime.spark, folder)
        lists = model.recommend_items(
            known_and_new_users(model, history), config.recommend.k, exclude_seen=history
        )
        rows = lists.withColumn("model_version", F.lit(champion.version))
        lakehouse.replace(rows, RECOMMENDATIONS)
    publish_views(lakehouse, config)
    written = lakehouse.read(RECOMMENDATIONS.name)
    users, count = written.agg(F.count_distinct("user_id"), F.count("*")).collect()[0]
    _log.info("%d recommendations for %d users by version %s", count, users, champion.version)


if __name__ == "__main__":
    sys.exit(run_job("recommend", run))
