"""The champion of the model registry -> gold.recommendations and its other tables."""

import logging
import sys

from pyspark.sql import functions as F

from matchlake.io.fit_checkpoints import fit_checkpoints
from matchlake.lakehouse.registered_models import RECOMMENDER, registered_model
from matchlake.lakehouse.rollback import settled_history
from matchlake.lakehouse.views import publish_views
from matchlake.model_store.mlflow_flavor import FACTORS
from matchlake.model_store.spark import load_model
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS
from matchlake.training.scoring import TABLES, BatchScoring, describe_rows
from matchlake.training.side_features import load_side_tables, read_sides
from matchlake.training.steps import load_training_params, with_weight

_log = logging.getLogger("matchlake.recommend")


def run(runtime: Runtime) -> None:
    """Replaces each table in one commit by the rows of the champion."""
    lakehouse, config = runtime.lakehouse, runtime.config
    params = config.recommend
    pairs = lakehouse.read(params.score_pairs_table) if params.score_pairs_table else None
    registered = registered_model(config, runtime.tracker, RECOMMENDER)
    aliases = settled_history(lakehouse, registered)
    champion = runtime.tracker.require_champion()
    path = f"{config.checkpoints}/recommend"
    label = f"{config.tracking.model} {champion.version}"
    with (
        runtime.tracker.files(champion, f"artifacts/{FACTORS}") as folder,
        fit_checkpoints(runtime.spark, path, label, resume=False) as checkpoints,
    ):
        model = load_model(folder, runtime.spark)
        trained = load_training_params(folder, config.train)
        history = with_weight(lakehouse.read(INTERACTIONS.name), trained)
        sides = read_sides(lakehouse, load_side_tables(folder, config.side_tables), history)
        answers = BatchScoring(model, history, sides, params, pairs, checkpoint=checkpoints)
        written = {}
        for name, rows in answers.tables().items():
            spec = TABLES[name]
            lakehouse.replace(rows.withColumn("model_version", F.lit(champion.version)), spec)
            written[spec.name] = lakehouse.version(spec.name)
            summary = describe_rows(lakehouse.read(spec.name))
            _log.info("%s: %s by version %s", spec.name, summary, champion.version)
        aliases.note_tables(champion.version, written)
    registered.require_still_champion(champion.version)
    publish_views(lakehouse, config)


if __name__ == "__main__":
    sys.exit(run_job("recommend", run))
