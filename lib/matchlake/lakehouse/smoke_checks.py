"""The checks of the job `smoke`: what the jobs need of a workspace, each tried once.

A check returns what it found, or `NotApplicable`, or raises. What it makes is named after
`Workspace.scratch`, and is removed by the callbacks that it gives to `undo`, also after a failure.
Importing this module loads no Spark.
"""

import inspect
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matchlake.config import JobConfig
from matchlake.errors import SecretError, WorkspaceError
from matchlake.io.mlflow_client import import_mlflow, quietly, unless_gone
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import CHALLENGER, Decision, number_of
from matchlake.io.secrets import SecretStore, secret_references
from matchlake.io.storage import is_local
from matchlake.lakehouse.scratch import (
    LOCAL_CATALOGS,
    create_until,
    remove_folder,
    scratch_folder,
    scratch_table,
)
from matchlake.schemas import quote_identifier, quote_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from matchlake.io.delta import Lakehouse

_STREAM_SECONDS = 300
"""The timeout of a stream of three rows. A new cluster may be slow."""
_REAL_TIME_SECONDS = 15
"""A query that still runs after so many seconds counts as started."""
_ROWS = [(1, "a"), (2, "b")]


@dataclass(frozen=True)
class Workspace:
    """What the checks use."""

    config: JobConfig
    lakehouse: "Lakehouse"
    secrets: SecretStore = field(repr=False)
    tracker: Tracker
    scratch: str
    """The prefix of everything that the checks make and remove again."""


@dataclass(frozen=True)
class NotApplicable:
    """The result of a check that does not apply here, with the reason."""

    reason: str


class Check(NamedTuple):
    """A check: its name, what it tries, its function, and what to do if it fails."""

    name: str
    tries: str
    todo: str
    run: Callable[[Workspace, ExitStack], str | NotApplicable]


def try_schemas(at: Workspace, undo: ExitStack) -> str:
    """A table in each schema: created, written, read, dropped."""
    from matchlake.lakehouse.views import SCHEMAS  # noqa: PLC0415 - loads Spark

    lake, new = at.lakehouse, []
    for schema in SCHEMAS:
        spec = scratch_table(f"{schema}.{at.scratch}")
        new += [] if create_until(lake, spec, undo) else [schema]
        lake.append(lake.frame(_ROWS, spec), spec)
        _require_rows(lake.read(spec.name), _ROWS, spec.name)
    made = f"a table in each of {', '.join(SCHEMAS)} was written and read"
    return f"{made}; new schemas, removed again: {', '.join(new)}" if new else made


def try_merge(at: Workspace, undo: ExitStack) -> str:
    """MERGE, the change feed, clustering, a constraint and an old version, in one table."""
    from matchlake.io.delta_properties import add_constraints  # noqa: PLC0415 - loads Spark

    lake = at.lakehouse
    spec = scratch_table(f"silver.{at.scratch}_merge", is_full=True)
    create_until(lake, spec, undo)
    lake.merge(lake.frame(_ROWS, spec), spec)
    add_constraints(lake, spec.name, dict(spec.checks))
    before = lake.version(spec.name)
    merged = [(1, "changed"), (2, "b"), (3, "c")]
    inserted = lake.merge(lake.frame(merged, spec), spec)
    _require_rows(lake.read(spec.name), merged, spec.name)
    _require_rows(lake.read(spec.name, before), _ROWS, f"{spec.name}, version {before}")
    after = lake.version(spec.name)
    kinds = {row["_change_type"] for row in lake.changes(spec.name, after, after).collect()}
    if inserted != 1 or kinds != {"update_preimage", "update_postimage", "insert"}:
        raise WorkspaceError(
            f"MERGE of one changed, one equal and one new row inserted {inserted}; the change feed "
            f"has {', '.join(sorted(kinds)) or 'nothing'}."
        )
    detail = lake.spark.sql(f"DESCRIBE DETAIL {lake.name(spec.name)}").collect()[0].asDict()
    features = ", ".join(sorted(detail.get("tableFeatures") or ())) or "not listed"
    return f"rows, changes and the old version are as expected; table features: {features}"


def try_folders(at: Workspace, undo: ExitStack) -> str | NotApplicable:
    """A file in each folder or volume that conf names: written, listed, read, removed."""
    config = at.config
    named = (config.checkpoints, config.features.folder, config.tracking.staging)
    folders = sorted({each for each in named if each and is_local(each)})
    problems = []
    for folder in folders:
        try:
            _try_folder(scratch_folder(f"{folder}/{at.scratch}", undo))
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
    if problems:
        raise WorkspaceError("; ".join(problems))
    if not folders:
        return NotApplicable("only Spark can open the folders of conf")
    return f"written, listed and removed in {', '.join(folders)}"


def try_secrets(at: Workspace, _undo: ExitStack) -> str | NotApplicable:
    """Resolves every secret reference of conf, and drops the values."""
    references = sorted({str(each): each for each in secret_references(at.config).values()}.items())
    problems = []
    for _, ref in references:
        try:
            at.secrets.get(ref)
        except SecretError as error:
            problems.append(str(error))
    if problems and at.config.lakehouse:
        todo = "`matchlake sandbox start` and the first erasure put the local ones"
        return NotApplicable(f"{len(problems)} of {len(references)} are not there yet: {todo}")
    if problems:
        raise SecretError(" ".join(problems))
    names = ", ".join(name for name, _ in references)
    return f"{names} resolved" if names else NotApplicable("conf refers to no secret")


def try_stream(at: Workspace, undo: ExitStack) -> str | NotApplicable:
    """A foreachBatch stream of a Delta table, run twice with one checkpoint."""
    lake, folder = at.lakehouse, at.config.checkpoints
    if not is_local(folder):
        return NotApplicable(f"only Spark can open {folder}, so the checkpoint would stay there")
    source = scratch_table(f"bronze.{at.scratch}_source")
    target = scratch_table(f"bronze.{at.scratch}_target")
    for spec in (source, target):
        create_until(lake, spec, undo)
    checkpoint = scratch_folder(f"{folder}/{at.scratch}_stream", undo)
    done: list[tuple[Any, ...]] = []
    for run, rows in enumerate((_ROWS, [(3, "c")]), start=1):
        lake.append(lake.frame(rows, source), source)
        writer = lake.spark.readStream.table(lake.name(source.name)).writeStream
        writer = writer.foreachBatch(_batch_writer(lake.name(target.name), at.scratch))
        writer = writer.option("checkpointLocation", str(checkpoint)).trigger(availableNow=True)
        _wait(writer.start(), undo)
        done += rows
        _require_rows(lake.read(target.name), done, f"after run {run}, {target.name}")
    return "both runs ended by themselves; the second continued where the first had ended"


def try_models(at: Workspace, undo: ExitStack) -> str:
    """A run, two versions of a scratch model, and an alias that is set, moved and removed."""
    champion = number_of(at.tracker.champion())
    mlflow, params = import_mlflow(), at.tracker.params
    client = mlflow.MlflowClient(at.tracker.uri, at.tracker.registry)
    experiment = params.experiment
    if client.get_experiment_by_name(experiment) is None:
        # Does not use conf's name: MLflow keeps the name of a deleted experiment, and jobs could
        # not use it.
        experiment = f"{experiment}_{at.scratch}"
        undo.callback(_delete_experiment, client, experiment)
    model = ".".join([*params.model.split(".")[:-1], at.scratch])
    chosen = params.model_copy(update={"experiment": experiment, "model": model})
    tracker = Tracker(chosen, at.config.lakehouse)
    with tracker.run(at.scratch, "A smoke run; it is deleted again.") as run:
        undo.callback(client.delete_run, run.run_id)
        run.log_metrics({"smoke": 1.0})
        uri = run.log_model(_flavor(mlflow))
        if uri.startswith("models:/"):
            undo.callback(client.delete_logged_model, uri.rpartition("/")[2])
        undo.callback(unless_gone, client.delete_registered_model, model)
        for _ in range(2):  # the second version takes the alias
            version = run.register(uri, Decision(CHALLENGER, "smoke run"))
    if number_of(tracker.with_alias(CHALLENGER)) != version.version:
        raise WorkspaceError(f"The alias {CHALLENGER} of {model} did not move to a new version.")
    client.delete_registered_model_alias(model, CHALLENGER)
    if tracker.with_alias(CHALLENGER) is not None:
        raise WorkspaceError(f"The alias {CHALLENGER} of {model} is still there after its removal.")
    return (
        f"experiment {experiment}, model {model}: two versions, one alias, deleted again; champion "
        f"of {params.model}: {champion or 'none'}"
    )


def try_real_time(at: Workspace, undo: ExitStack) -> str | NotApplicable:
    """A query in real-time mode that reads a topic of conf, and writes no record.

    Raises only if conf declares a stream that may run in real time.
    """
    if not is_local(at.config.checkpoints):
        return NotApplicable("only Spark can open checkpoints, so the checkpoint would stay there")
    needed = [n for n, s in at.config.score_events.streams.items() if s.mode != "micro_batch"]
    try:
        topic, partitions = _start_real_time(at, undo)
    except Exception as error:
        if needed:
            raise
        return NotApplicable(f"score_events declares no such stream; it would not run: {error}")
    return f"started on topic {topic}, with {partitions} partition(s)"


def try_grants(at: Workspace, _undo: ExitStack) -> str | NotApplicable:
    """SHOW GRANTS on the catalog and its schemas, and the principals of grants.sql; no change."""
    from matchlake.lakehouse.grants import read_rules  # noqa: PLC0415 - loads Spark
    from matchlake.lakehouse.views import SCHEMAS  # noqa: PLC0415 - loads Spark

    catalog, spark = at.lakehouse.catalog, at.lakehouse.spark
    if catalog is None or catalog in LOCAL_CATALOGS:
        return NotApplicable("only Unity Catalog has grants")
    place = quote_identifier(catalog)
    shown = [f"CATALOG {place}", *(f"SCHEMA {place}.{quote_identifier(s)}" for s in SCHEMAS)]
    grants = sum(len(spark.sql(f"SHOW GRANTS ON {each}").collect()) for each in shown)
    path = at.config.conf_dir / "grants.sql"
    rules = read_rules(path) if path.is_file() else []
    principals = sorted({rule.principal for rule in rules if rule.principal})
    try:
        missing = [each for each in principals if not _is_known(spark, each)]
    except Exception as error:  # noqa: BLE001 - some workspaces let only administrators ask
        return f"{grants} grants; principals of {path.name} are not looked for: {error}"
    if missing:
        raise WorkspaceError(f"{path.name} names {', '.join(missing)}: no such group or user.")
    return f"{grants} grants; principals of {path.name} exist: {', '.join(principals) or 'none'}"


CHECKS = (
    Check(
        "schemas",
        "the catalog and its schemas take a table",
        "Deploy the bundle, and give the identity of the job USE CATALOG, and USE SCHEMA, CREATE "
        "TABLE on each schema.",
        try_schemas,
    ),
    Check(
        "folders",
        "the volumes of checkpoints and models take files",
        "Deploy the bundle, and give the identity of the job READ VOLUME and WRITE VOLUME.",
        try_folders,
    ),
    Check(
        "secrets",
        "every secret reference of conf resolves",
        "Put the secrets into the vault, and let Databricks and the identity of the job read it.",
        try_secrets,
    ),
    Check(
        "stream",
        "a foreachBatch stream continues from its checkpoint",
        "See the error. Use a cluster in the access mode of the bundle's job clusters.",
        try_stream,
    ),
    Check(
        "merge",
        "Delta has MERGE and the table features of the jobs",
        "Use the runtime that databricks.yml names, or a newer one.",
        try_merge,
    ),
    Check(
        "models",
        "MLflow takes runs, versions and aliases",
        "Give the identity of the job the right to edit the experiment, and CREATE MODEL on the "
        "schema of tracking.model.",
        try_models,
    ),
    Check(
        "real time",
        "a query starts in real-time mode",
        "Use a cluster as real_time_clusters of databricks.yml describes it, or set "
        "score_events.streams.NAME.mode to micro_batch.",
        try_real_time,
    ),
    Check(
        "grants",
        "grants can be read, and their principals exist",
        "Create the groups of conf/grants.sql, or name others; let the identity of the job own the "
        "schemas or see their grants.",
        try_grants,
    ),
)
"""All checks, in the order in which they run."""


def _require_rows(frame: "DataFrame", expected: list[tuple[Any, ...]], where: str) -> None:
    found = sorted(tuple(row) for row in frame.collect())
    if found != expected:
        raise WorkspaceError(f"{where} has the rows {found}, not {expected}.")


def _try_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "file.txt").write_text("smoke", encoding="utf-8")
    if [each.name for each in path.iterdir()] != ["file.txt"]:
        raise OSError("the folder does not list the file that was written")
    if (path / "file.txt").read_text(encoding="utf-8") != "smoke":
        raise OSError("the file does not hold what was written")
    remove_folder(path)
    if path.exists():
        raise OSError("the folder is still there after its removal")


def _batch_writer(table: str, transaction: str) -> Callable[["DataFrame", int], None]:
    """A writer without a session, so that Spark Connect can send it; the jobs write as it does."""

    def write(batch: "DataFrame", number: int) -> None:
        writer = batch.write.format("delta").mode("append").option("txnAppId", transaction)
        writer.option("txnVersion", str(number)).saveAsTable(table)

    return write


def _wait(query: "StreamingQuery", undo: ExitStack) -> None:
    undo.callback(query.stop)
    if not query.awaitTermination(_STREAM_SECONDS):
        raise WorkspaceError(f"The stream did not end by itself within {_STREAM_SECONDS} s.")


def _delete_experiment(client: Any, name: str) -> None:
    found = client.get_experiment_by_name(name)
    if found is not None:
        client.delete_experiment(found.experiment_id)


def _flavor(mlflow: Any) -> dict[str, Any]:
    """A model that nobody loads, with the signature that Unity Catalog asks for."""
    import pandas as pd  # noqa: PLC0415 - part of a second to import

    rows = pd.DataFrame({"x": [1.0]})
    with quietly():
        signature = mlflow.models.infer_signature(rows, rows)
    return {"loader_module": "matchlake", "signature": signature, "pip_requirements": ["mlflow"]}


def _is_known(spark: "SparkSession", principal: str) -> bool:
    """Whether a group or user has this name; the id of a service principal is taken as known."""
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", principal):
        return True
    asked = (f"SHOW {kind} LIKE {quote_text(principal)}" for kind in ("GROUPS", "USERS"))
    return any(spark.sql(query).collect() for query in asked)


def _start_real_time(at: Workspace, undo: ExitStack) -> tuple[str, int]:
    """Starts a query. Returns its topic and number of partitions. Raises if it does not start."""
    from pyspark.sql.streaming.readwriter import DataStreamWriter  # noqa: PLC0415 - loads Spark

    from matchlake.io.brokers import configured_broker  # noqa: PLC0415 - only where it is needed
    from matchlake.io.kafka import require_topic  # noqa: PLC0415 - loads the client
    from matchlake.lakehouse.event_streams import cores_of  # noqa: PLC0415 - loads Spark

    config, spark = at.config, at.lakehouse.spark
    if "realTime" not in inspect.signature(DataStreamWriter.trigger).parameters:
        raise WorkspaceError(f"Spark {spark.version} lacks real-time mode. Use Spark 4.1 or newer.")
    streams = [each.stream for each in config.score_events.streams.values()]
    named = [name for name in (*streams, *config.streams) if name in config.streams]
    if not named:
        raise WorkspaceError("Conf declares no stream to read. Declare one below `streams`.")
    topic = config.streams[named[0]].topic
    broker = configured_broker(config.kafka, config.lakehouse, at.secrets)
    partitions = require_topic(broker, topic, config.kafka.timeout_seconds)
    cores = cores_of(spark)
    if cores is not None and cores < partitions:
        raise WorkspaceError(
            f"Real-time mode needs one core per partition: topic {topic} has {partitions}, "
            f"the session has {cores}."
        )
    options = broker.spark_options()
    records = spark.readStream.format("kafka").options(**options, subscribe=topic).load()
    checkpoint = scratch_folder(f"{config.checkpoints}/{at.scratch}_real_time", undo)
    real_time: dict[str, Any] = {"realTime": config.score_events.batch}  # not in the type hints
    query = (
        records.where("offset < 0")  # no record passes: nothing is written
        .select("value")
        .writeStream.format("kafka")
        .options(**options, topic=at.scratch, checkpointLocation=str(checkpoint))
        .outputMode("update")
        .trigger(**real_time)
        .start()
    )
    undo.callback(query.stop)
    if query.awaitTermination(_REAL_TIME_SECONDS):
        raise WorkspaceError("The real-time query ended at once. See the log of the cluster.")
    return topic, partitions
