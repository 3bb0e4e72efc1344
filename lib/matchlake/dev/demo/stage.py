"""What every demo needs: a sandbox for its time, one demo at a time, and a clean end."""

import fcntl
import runpy
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from matchlake.config import JobConfig, find_conf
from matchlake.dev.demo.steps import Step, Steps
from matchlake.dev.sandbox.broker import broker_status
from matchlake.dev.sandbox.jars import install_all
from matchlake.dev.sandbox.services import start_sandbox, stop_sandbox
from matchlake.errors import SandboxError
from matchlake.io.brokers import Broker, configured_broker
from matchlake.io.java import require_java
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.secrets import secret_chain
from matchlake.lakehouse.table_registry import declared_tables
from matchlake.runtime import Runtime, quick_to_start, start
from matchlake.training.params import LOWER_IS_BETTER

_TRACKED = ("profile_tables", "build_training_sets", "train_recommender", "recommend")
"""The jobs that use MLflow."""
_LISTED = 2
_ASIDE = (
    *("bronze.lake_", "bronze.ingest_", "gold.drift"),
    *("gold.feature_sets", "gold.feature_vocabulary", "gold.feature_counts"),
)
"""The prefixes of tables that a step does not mention."""
_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass
class Stage:
    """The place of one demo: its conf, its steps, and the Spark session once it has started."""

    config: JobConfig
    steps: Steps
    runtime: Runtime | None = None
    loading: threading.Thread | None = None
    """Loads MLflow and makes its database while the first jobs run."""

    @property
    def root(self) -> Path:
        """The folder of the lakehouse and of the sandbox."""
        return Path(self.config.lakehouse or ".lakehouse")

    def start_services(self) -> Broker:
        """Step: starts broker, vault and workspace; returns the connection to the broker."""
        with self.steps.step("broker, Key Vault, workspace") as step:
            install_all()
            state = start_sandbox(self.root).broker
            store = secret_chain(self.config.secrets, self.config.lakehouse)
            broker = configured_broker(self.config.kafka, self.config.lakehouse, store)
            step.note = f"a Kafka broker on {state.bootstrap}"
        # MLflow takes seconds to load and to make its database; no step waits for it.
        tracker = Tracker(self.config.tracking, self.config.lakehouse)
        self.loading = threading.Thread(target=_load_quietly, args=[tracker], daemon=True)
        self.loading.start()
        return broker

    def start_spark(self, name: str) -> Runtime:
        """Step: starts the Spark session."""
        with self.steps.step("Spark session") as step:
            self.runtime = start(quick_to_start(self.config), name)
            step.note = f"Spark {self.runtime.spark.version}"
        return self.runtime

    def run_job(self, name: str, runtime: Runtime, label: str = "") -> None:
        """Step: runs a job, and notes the rows of the tables that it writes."""
        clock = name != "train_recommender"
        with self.steps.step(label or f"job {name}", clock=clock) as step:
            if self.loading is not None and name in _TRACKED:
                self.loading.join()
            job(name)(runtime)
            note_rows(step, name, runtime)


def job(name: str) -> Callable[[Runtime], None]:
    """The `run` of jobs/NAME.py, the same file that spark-submit runs."""
    script = find_conf().parent / "jobs" / f"{name}.py"
    if not script.is_file():
        raise SandboxError(f"{script} is missing: a project has the scripts of its jobs in jobs/.")
    run: Callable[[Runtime], None] = runpy.run_path(str(script))["run"]
    return run


def with_keys(runtime: Runtime, config: JobConfig) -> Runtime:
    """A stage with the same session and another conf of the same lakehouse."""
    return replace(runtime, config=config, tracker=Tracker(config.tracking, config.lakehouse))


def note_rows(step: Step, name: str, runtime: Runtime) -> None:
    """Notes what a job wrote: records by status, rows of its tables, or the figures of a model."""
    if name == "ingest_events":
        tables = [stream.table for stream in runtime.config.streams.values()]
        step.note = "; ".join(_status_counts(runtime, table) for table in tables)
    elif name == "train_recommender":
        step.note = _model_note(runtime)
    else:
        counts = {each: runtime.lakehouse.read(each).count() for each in _written(name, runtime)}
        listed = [f"{each} {count:,}" for each, count in counts.items() if count]
        many = f"{len(listed)} tables, {sum(counts.values()):,} rows"
        step.note = ", ".join(listed) if len(listed) <= _LISTED else many


def _written(name: str, runtime: Runtime) -> list[str]:
    """The tables that a job has written, without those about its files and fitted states."""
    specs = declared_tables(runtime.config).values()
    tables = [each.name for each in specs if each.written_by == name]
    wanted = runtime.config.recommend.tables
    if name == "recommend" and wanted:
        tables = [each for each in tables if each.partition(".")[2] in wanted]
    shown = [each for each in tables if not each.startswith(_ASIDE)]
    return [each for each in shown if runtime.lakehouse.exists(each)]


def _status_counts(runtime: Runtime, table: str) -> str:
    rows = runtime.lakehouse.read(table).groupBy("_status").count().collect()
    counts = {row["_status"]: row["count"] for row in rows}
    listed = " + ".join(f"{count:,} {status}" for status, count in sorted(counts.items())[::-1])
    return f"{sum(counts.values()):,} records = {listed}"


def _model_note(runtime: Runtime) -> str:
    """The alias and the version of the newest model, with its metric and the best baseline's."""
    metric, tracker = runtime.config.train.metric, runtime.tracker
    newest = tracker.versions()[-1]
    figures = tracker.metrics(newest)
    others = [value for name, value in figures.items() if name.endswith(f"/{metric}")]
    best = min(others, default=0.0) if metric in LOWER_IS_BETTER else max(others, default=0.0)
    alias = " and ".join(newest.aliases) or "version"
    return f"{alias} {newest.version}: {metric} {figures[metric]:.3f}, best baseline {best:.3f}"


@contextmanager
def on_stage(root: Path) -> Iterator[None]:
    """A context for one demo: no other demo runs meanwhile, and nothing is left running afterwards.

    A sandbox that ran before stays. Raises SandboxError without a Java, if another demo runs
    in `root`, or if the disk is full.
    """
    require_java()
    with _only_one(root):
        was_running = broker_status(root).phase == "running"
        try:
            yield
        except Exception as error:
            if any(text in str(error) for text in _FULL):
                raise SandboxError(
                    f"The disk of {root.resolve()} is full: free some space, and run the command "
                    "again. It continues where it stopped."
                ) from None
            raise
        finally:
            _end(root, stop=not was_running)


def _end(root: Path, *, stop: bool) -> None:
    """Stops Spark and the sandbox; Ctrl-C does not interrupt that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop_session()
        if stop:
            stop_sandbox(root)
    finally:
        signal.signal(signal.SIGINT, before)


def stop_session() -> None:
    """Stops the Spark session of this process, if it has one."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - there may be none

    # After an interrupt the connection to the JVM may not answer any more.
    with suppress(Exception):
        session = SparkSession.getActiveSession()
        if session is not None:
            session.stop()


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "demo.lock").open("w")
    except OSError as error:
        raise SandboxError(f"{root.resolve()} cannot be written: {error.strerror}.") from None
    with lock:
        try:
            # The system releases this lock when its process ends, for any reason.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(
                f"Another demo runs in {root.resolve()}: wait for its end, or start this one in "
                "another project."
            ) from None
        yield


def _load_quietly(tracker: Tracker) -> None:
    with suppress(Exception):  # the job that needs MLflow reports the error
        tracker.champion()
