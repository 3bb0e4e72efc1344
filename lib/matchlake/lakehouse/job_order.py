"""The order of the jobs, from the tables that each reads and writes."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from matchlake.config import JobConfig
from matchlake.features.feature_tables import FEATURE_SETS
from matchlake.ingest.interactions import interactions_spec
from matchlake.ingest.silver import silver_specs
from matchlake.lakehouse.table_registry import declared_tables
from matchlake.lakehouse.views import FRESHNESS, QUARANTINE, fixed_views
from matchlake.profiling.profile import COLUMN_PROFILES
from matchlake.schemas import INTERACTIONS
from matchlake.training.history import MODEL_HISTORY

MODEL_OF = {
    "recommend": "train_recommender",
    "score_model": "train_model",
    "monitor_models": "train_model",
}
"""Jobs that read a registered model, and the job that registers it."""


def tables_read(config: JobConfig) -> dict[str, list[str]]:
    """The tables and views from which each job builds a table or a model, sorted.

    A table that the job writes itself is listed if the job builds another table from it. Jobs that
    work on all tables, such as `maintain_tables`, are not listed.
    """
    tables, described = config.features.tables.values(), config.side_tables
    interactions = [INTERACTIONS.name] if config.silver.interactions else []
    sides = [side.source for side in (described.users, described.items) if side]
    states = [FEATURE_SETS.name] if sides else []
    silver = silver_specs(config.silver, config.streams).values()
    events = interactions_spec(config.silver, config.streams)
    sets = [each.rows for each in config.training_sets.values()]
    models = config.models.values()
    aliases = [MODEL_HISTORY.name] if models else []
    by_job = {
        "ingest_events": [],
        "load_lake": [],
        "embed_images": [],
        "build_silver": [
            *(spec.stream.table for spec in silver),
            *(each.silver.silver.table for each in (events.sources.values() if events else ())),
        ],
        "build_features": [*interactions, FEATURE_SETS.name, *(table.source for table in tables)],
        "profile_tables": [COLUMN_PROFILES.name, *config.profile.tables],
        "build_training_sets": [
            *(each.labels for each in sets),
            *(history.table for each in sets for history in each.history_tables),
        ],
        "train_recommender": [INTERACTIONS.name, *sides, *states],
        "recommend": [
            MODEL_HISTORY.name,
            INTERACTIONS.name,
            *sides,
            *filter(None, [config.recommend.score_pairs_table]),
        ],
        "train_model": [*aliases, *(each.rows for each in models)],
        "publish_online": [each.table for each in config.online.tables.values()],
        "score_model": [*aliases, *(each.score_rows or each.rows for each in models)],
        "monitor_models": [
            table
            for name, each in config.monitor.models.items()
            for table in (config.models[name].rows, each.rows or config.models[name].rows)
        ],
    }
    return {job: sorted(set(names)) for job, names in by_job.items()}


def job_order(config: JobConfig) -> list[str]:
    """The jobs that write tables or models; a job follows the jobs that write its inputs.

    If jobs read each other's tables, the job that is last in `tables_read` runs last. The other
    jobs then read its tables of the previous run.
    """
    graph = {}
    for job, names in tables_read(config).items():
        before = [*_writers(config, names), *filter(None, [MODEL_OF.get(job)])]
        graph[job] = dict.fromkeys(each for each in before if each != job)
    while True:
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            rank = {job: index for index, job in enumerate(graph)}
            before, after = max(pairwise(error.args[1]), key=lambda edge: rank[edge[0]])
            del graph[after][before]


def jobs_before(config: JobConfig, name: str) -> list[str]:
    """The jobs that write the table `name`, or the tables of the view `name`; none if unknown."""
    if name in (FRESHNESS, QUARANTINE):
        return ["ingest_events"]
    writers = set(_writers(config, [name]))
    return [job for job in job_order(config) if job in writers]


def _writers(config: JobConfig, names: list[str]) -> Iterator[str]:
    """The jobs that write the tables in `names`, or the tables of the views in `names`."""
    tables = declared_tables(config)
    needs = {view.name: view.needs for view in fixed_views(config)}
    for name in names:
        for table in needs.get(name, (name,)):
            if table in tables:
                yield tables[table].written_by
