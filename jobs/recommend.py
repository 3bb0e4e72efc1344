"""The champion of the model registry -> gold.recommendations."""

import logging
import sys

from pyspark.sql import functions as F

from matchlake.models.folder import load_model
from matchlake.models.pyfunc import FACTORS
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS

_log = logging.getLogger("matchlake.recommend")


def run(runtime: Runtime) -> None:
    """Replaces the table in one commit by the champion's best items of each user it knows."""
    lakehouse, k = runtime.lakehouse, runtime.config.recommend.k
    seen = lakehouse.read(INTERACTIONS.name)
    champion = runtime.tracker.require_champion()
    with runtime.tracker.files(champion, f"artifacts/{FACTORS}") as folder:
        model = load_model(runtime.spark, folder)
        rows = model.recommend_items(None, k, exclude_seen=seen)
        lakehouse.replace(
            rows.withColumn("model_version", F.lit(champion.version)), RECOMMENDATIONS
        )
    written = lakehouse.read(RECOMMENDATIONS.name)
    _log.info("%d recommendations by version %s", written.count(), champion.version)


if __name__ == "__main__":
    sys.exit(run_job("recommend", run))
