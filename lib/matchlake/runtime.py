"""From a command line to one frozen value: session, config, lakehouse, secrets, tracker.

Only this module builds a Spark session, parses the arguments of a job or reads the environment.
"""

import argparse
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.version import __version__ as pyspark_version

from matchlake.config import JobConfig, environments, find_conf, load_config, project_conf
from matchlake.errors import ConfigError, MatchlakeError, SandboxError, WorkspaceError
from matchlake.io.databricks import on_databricks
from matchlake.io.delta import Lakehouse
from matchlake.io.java import require_java
from matchlake.io.kernel_cache import require_private_cache
from matchlake.io.mlflow_errors import reason_of
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.salt import Salt
from matchlake.io.secrets import CachedSecrets, SecretStore, mask_log, secret_chain
from matchlake.io.spark_executors import log_executors
from matchlake.io.storage import storage_settings
from matchlake.io.telemetry import reporting_to
from matchlake.io.terminal import last_lines, output_redirected
from matchlake.lakehouse.views import fixed_views

_log = logging.getLogger("matchlake")

_INTERRUPTED = 130
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# For a small machine: small tables read their log in few tasks, no port is opened, and Spark's log
# does not hide the log of the job.
_LOCAL = {
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    # The number of tasks of a VACUUM that list files; Spark's default is 10000.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    # A stream and its batch log need more generated classes than Spark's cache holds (100). With a
    # full cache Spark compiles the classes again for each batch.
    "spark.sql.codegen.cache.maxEntries": "1000",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The job logs each error. At the level ERROR, Spark would also print a Java trace.
    "spark.log.level": "FATAL",
}
# A command runs for seconds to minutes. Without Java's optimizing compiler (C2) it starts in half
# the time. The compiler C1 alone stops at 48 MiB of code by default, too little for a long session.
_QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Otherwise Spark replaces a text such as ${env:HOME} in a query.
    "spark.sql.variable.substitute": "false",
}
# The quantifiers are possessive, so that Java matches any length without recursion. The end of the
# text also ends a login, because Spark cuts off long plans.
_LOGINS = r'(?s)(password|clientSecret)="[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?$)'
# Options of Spark's sources hold logins: no plan, page or event log may show them. Clusters get the
# same settings from databricks.yml.
_REDACTION = {
    "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|jaas|sasl",
    "spark.sql.redaction.options.regex": "(?i)url|jaas|sasl|secret|password",
    "spark.redaction.string.regex": _LOGINS,
    "spark.sql.redaction.string.regex": _LOGINS,
}


@dataclass(frozen=True)
class Runtime:
    """Session, conf and clients of a job."""

    spark: SparkSession = field(repr=False)
    config: JobConfig
    lakehouse: Lakehouse
    secrets: SecretStore = field(repr=False)
    tracker: Tracker = field(repr=False)


class Flag(NamedTuple):
    """A job option that sets a conf key: to a list or, with values `A=B`, to a mapping."""

    name: str
    key: str
    metavar: str
    help: str
    single: bool = False
    """Whether the key takes one value instead of a list; the last value is used."""

    def setting(self, values: Sequence[str]) -> str:
        """The values in the form of `--set`."""
        pairs = [value.partition("=") for value in values]
        if self.single:
            return f"{self.key}={json.dumps(values[-1])}"
        if "=" not in self.metavar:
            return f"{self.key}={json.dumps(list(values))}"
        if not all(equals for _, equals, _ in pairs):
            raise ConfigError(f"{self.name} {' '.join(values)}: it must be {self.metavar}.")
        return f"{self.key}={{{', '.join(f'{name}: {value}' for name, _, value in pairs)}}}"


def job_arguments(name: str, argv: Sequence[str], flags: Sequence[Flag] = ()) -> argparse.Namespace:
    """Parses the arguments of every job, --env, --set, --conf-dir, --log-level, and `flags`.

    A flag with an empty value, such as the default of a job parameter, leaves conf as it is.
    """
    parser = argparse.ArgumentParser(prog=name, description=f"Runs the job {name}.")
    parser.add_argument("--env", default="local", help="conf/ENV.yml over conf/base.yml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="overrides one key, e.g. --set train.als.rank=64; may be repeated",
    )
    parser.add_argument(
        "--conf-dir",
        type=Path,
        help="folder of base.yml; default: the nearest conf/; on Databricks only the project's own",
    )
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    for flag in flags:
        parser.add_argument(
            flag.name, action="append", metavar=flag.metavar, help=flag.help, dest=flag.key
        )
    args = parser.parse_args(argv)
    for flag in flags:
        values = [value for value in getattr(args, flag.key) or () if value]
        args.set += [flag.setting(values)] if values else []
    return args


def run_job(
    name: str,
    run: Callable[[Runtime], None],
    argv: Sequence[str] | None = None,
    flags: Sequence[Flag] = (),
) -> int:
    """Runs a job with the conf of its arguments; the exit code: 0, 1, or 130 after Ctrl-C."""
    began = time.monotonic()
    try:
        args = job_arguments(name, sys.argv[1:] if argv is None else argv, flags)
        start_logging(args.log_level)
        folder = project_conf(Path(inspect.getfile(run)), args.conf_dir)
        with _running(load_config(args.env, args.set, folder), name) as runtime:
            run(runtime)
            log_executors(runtime.spark)
    except MatchlakeError as error:
        _log.error("%s failed: %s: %s", name, type(error).__name__, error)
        return 1
    except KeyboardInterrupt:
        _log.error("%s was interrupted; its next run continues or starts again", name)
        return _INTERRUPTED
    _log.info("%s done in %.1f s", name, time.monotonic() - began)
    return 0


@contextmanager
def _running(config: JobConfig, name: str) -> Iterator[Runtime]:
    """The runtime of a job; a session that starts here also ends here."""
    ours = SparkSession.getActiveSession() is None and not on_databricks()
    runtime = start(config, name)
    try:
        with reporting_to(config.telemetry, runtime.secrets, name, config.env):
            yield runtime
    finally:
        if ours:
            runtime.spark.stop()


def quick_to_start(config: JobConfig, archive: str | None = None) -> JobConfig:
    """The conf with a local JVM for a short session: it starts sooner, long queries run slower.

    `archive` is the option of Java for the archive of classes; by default it reads an existing one.
    """
    if not config.lakehouse:
        return config
    options = f"{_QUICK_JVM} {_read_archive() if archive is None else archive}".strip()
    return config.model_copy(
        update={"spark": {"spark.driver.extraJavaOptions": options, **config.spark}}
    )


def class_archive() -> Path:
    """Where this environment keeps the archive of the classes that Spark loads."""
    return Path(sys.prefix) / "share" / "matchlake" / f"spark-{pyspark_version}.jsa"


def _read_archive() -> str:
    """Java's option that reads the archive; empty without one."""
    found = class_archive()
    is_usable = found.is_file() and " " not in str(found)  # Spark splits options at blanks
    return archive_option(found) if is_usable else ""


def archive_option(path: Path, *, write: bool = False) -> str:
    """Java's option that reads an archive of classes, or writes it when the JVM ends."""
    return f"-XX:{'ArchiveClassesAtExit' if write else 'SharedArchiveFile'}={path}"


def start(config: JobConfig, name: str) -> Runtime:
    """Builds the runtime of one process, with the given session or a new local one."""
    require_private_cache()
    spark = spark_session(config, name)
    if config.catalog:
        _use_catalog(spark, config.catalog)
    chain = secret_chain(config.secrets, config.lakehouse)
    secrets = CachedSecrets(chain, config.secrets.cache_seconds)
    for key, value in storage_settings(config.storage, secrets).items():
        spark.conf.set(key, value)
    return Runtime(
        spark=spark,
        config=config,
        lakehouse=Lakehouse(
            *(spark, config.catalog, config.warehouse, fixed_views(config)),
            salt=_salt_of(config, secrets),
        ),
        secrets=secrets,
        tracker=Tracker(config.tracking, config.lakehouse),
    )


def _use_catalog(spark: SparkSession, catalog: str) -> None:
    """Makes a catalog the current one; raises WorkspaceError if it cannot be used."""
    try:
        # Views name their tables as schema.table. USE CATALOG is Databricks' SQL alone.
        spark.catalog.setCurrentCatalog(catalog)
    except (PySparkException, Py4JError) as error:
        raise WorkspaceError(
            f"Catalog {catalog} cannot be used: {reason_of(error)}. Create it (`CREATE CATALOG "
            f"{catalog}`), let this identity use it (USE CATALOG), or name another one in conf."
        ) from error


def _salt_of(config: JobConfig, secrets: SecretStore) -> Callable[[], Salt] | None:
    """The function that resolves the salt of the hashes of erased users; None without one."""
    ref = config.erase.salt
    return None if ref is None else lambda: Salt(secrets.get(ref).reveal().encode())


def start_notebook(name: str, env: str | None = None, overrides: Sequence[str] = ()) -> Runtime:
    """The runtime of a notebook, for `env`; Jupyter then shows figures as pictures.

    Default: `demo` if conf has it, else `local`; on Databricks the one environment that is deployed
    there, or `dev`.
    """
    from matchlake.training.notebook_plots import show_in_jupyter  # noqa: PLC0415 - jobs need none

    start_logging("WARNING")
    show_in_jupyter()
    known = environments(find_conf())
    if on_databricks():
        chosen = env or (known[0] if len(known) == 1 else "dev")
    else:
        chosen = env or next((each for each in ("demo", "local") if each in known), "local")
    project = find_conf().resolve().parent
    if project in Path.cwd().parents:
        os.chdir(project)  # Jupyter starts in the notebook's folder; the lake is the project's
    return start(load_config(chosen, overrides), name)


def spark_session(config: JobConfig, name: str) -> SparkSession:
    """The session; the launcher of the process decides master, jars and memory.

    Only a plain Python process on a local machine gets a master and a heap from here.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if on_databricks():  # the platform has already made a session
        return SparkSession.builder.getOrCreate()
    builder = SparkSession.builder.appName(f"matchlake {name}")
    settings = {**_DELTA, **_SESSION, **_REDACTION, **_LOCAL, **config.spark}
    if config.warehouse:
        settings["spark.sql.warehouse.dir"] = str(Path(config.warehouse).absolute())
    if "PYSPARK_GATEWAY_PORT" not in os.environ and "SPARK_REMOTE" not in os.environ:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings.setdefault("spark.master", "local[*]")
        settings.setdefault("spark.driver.memory", "2g")
        settings.setdefault("spark.driver.extraJavaOptions", _read_archive())
    settings |= _token_settings(config, settings)
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = _started(builder)
    _log.info("Spark %s, master %s", spark.version, spark.conf.get("spark.master", "unknown"))
    return spark


def _started(builder: SparkSession.Builder) -> SparkSession:
    """Starts the session. The output of the starting JVM is shown at the log level DEBUG only.

    Raises SandboxError, with the last lines of the JVM, if it does not start.
    """
    # pyspark logs each failed query as a line of JSON; a job logs one sentence instead.
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    if _log.isEnabledFor(logging.DEBUG):
        return builder.getOrCreate()
    with output_redirected() as log:
        try:
            return builder.getOrCreate()
        except (PySparkException, Py4JError, OSError) as error:
            require_java()  # Java is only checked now, because the check takes part of a second
            text = f"Spark did not start: {error} {last_lines(log)}".strip()
            raise SandboxError(text) from None


def _token_settings(config: JobConfig, settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that allow the OAuth token endpoint: a JVM reads them only at its start."""
    if config.kafka.sasl is None or config.kafka.sasl.oauth is None:
        return {}
    endpoint = config.kafka.sasl.oauth.token_endpoint
    option = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={endpoint}"
    keys = ("spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions")
    return {key: f"{settings.get(key, '')} {option}".strip() for key in keys}


def start_logging(level: str) -> None:
    """Sends the log to stderr with time, level and module; other libraries' from WARNING on."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    _log.setLevel(level.upper())
    # kafka-python warns about its own scheduling when the machine is busy.
    logging.getLogger("kafka").setLevel(logging.ERROR)
    # py4j logs the trace of each interrupt, and then raises it.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    mask_log()
