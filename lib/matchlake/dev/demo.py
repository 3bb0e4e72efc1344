"""`matchlake demo`: the whole product on MovieLens-100K, in one session, and a closing page.

Every step is a job or a call that a user can run. The demo runs them in order, shows its progress,
and reads its closing page from the tables of the jobs.
"""

import runpy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from matchlake.config import JobConfig, find_conf, load_config
from matchlake.dev.demo_report import print_page
from matchlake.dev.sandbox.broken_events import broken_events, mix_in
from matchlake.dev.sandbox.broker import broker_status
from matchlake.dev.sandbox.events import rating_events
from matchlake.dev.sandbox.lake_files import write_file, write_lake_files
from matchlake.dev.sandbox.movielens import MovieLens, bundled_movielens, open_movielens
from matchlake.dev.sandbox.publish import Published, publish_events
from matchlake.dev.sandbox.services import start_sandbox, stop_sandbox
from matchlake.io.brokers import Broker, configured_broker
from matchlake.io.secrets import secret_chain
from matchlake.runtime import Runtime, start, start_logging

JOBS = (
    "ingest_events",
    "build_silver",
    "load_lake",
    "build_features",
    "train_recommender",
    "recommend",
)
STREAM = "rating_events"
RANKER = ("recommend.tables=[recommendations]", f"ingest.streams=[{STREAM}]")
"""The first model ranks items; the second one gives related items and users."""
RATER = (
    "tracking.model=rater",
    "train.algorithm=matchbox",
    "train.matchbox={rank: 8, samples: 100, burn_in: 100, thinning: 5}",
    "train.metric=rmse",
    "train.azure_ml_modes={}",
    "recommend.tables=[related_items, related_users, predicted_ratings, feature_effects]",
)
"""Overrides for the second model, which predicts ratings."""
SLICE = (
    "train.require_better_than_baselines=false",
    "train.matchbox={rank: 8, samples: 40, burn_in: 80, thinning: 2}",
)
"""Overrides for a part of the ratings: it may be too small to learn more than popularity, and its
fits are short."""
NEWCOMER = "newcomer"
_SEED = 20
_ODD_EVENTS = 300
_PARTITIONS = 4


@dataclass
class Steps:
    """Numbers the steps, and records the seconds of each."""

    console: Console
    total: int
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announces a step and times it."""
        number = f"{len(self.seconds) + 1}/{self.total}"
        self.console.rule(f"[bold]{number}[/] {name}", align="left", style="dim")
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


def run_demo(console: Console, ratings: int | None = None, movielens: Path | None = None) -> None:
    """Runs the demo on the first `ratings` ratings (by default all) and prints its closing page.

    The ratings are those of MovieLens-100K, or of the MovieLens set in the folder `movielens`.
    Tables, tracking store and broker data stay below the lakehouse folder; a broker that the demo
    started is stopped. A second run publishes and ingests nothing twice.
    """
    start_logging("INFO")
    dataset = open_movielens(movielens) if movielens else bundled_movielens()
    few = SLICE if ratings else ()
    config = load_config("local", (*RANKER, *few))
    root = Path(config.lakehouse or ".lakehouse")
    steps = Steps(console, total=5 + len(JOBS))
    was_running = broker_status(root).phase == "running"
    try:
        with steps.step("Kafka broker, Key Vault, workspace"):
            state = start_sandbox(root).broker
            store = secret_chain(config.secrets, config.lakehouse)
            broker = configured_broker(config.kafka, config.lakehouse, store)
            console.print(f"a broker runs on {broker}", highlight=False)
            console.print(
                f"process {state.pid}; its data is below {root}/kafka, its password in the vault "
                f"below {root}/cloud"
            )
        with steps.step("events and lake files"):
            published = _publish(console, config, broker, dataset, ratings)
            _write_lake(console, root, dataset)
        with steps.step("Spark session"):
            runtime = start(config, "demo")
        for name in JOBS:
            with steps.step(f"job {name}"):
                job(name)(runtime)
        rater = start(load_config("local", (*RATER, *few)), "demo")
        for name in JOBS[-2:]:
            with steps.step(f"job {name}, model rater"):
                job(name)(rater)
    finally:
        if not was_running:
            stop_sandbox(root)
    print_page(console, (runtime, rater), published, steps.seconds)


def job(name: str) -> Callable[[Runtime], None]:
    """The `run` of jobs/NAME.py, the same file that spark-submit runs."""
    run: Callable[[Runtime], None] = runpy.run_path(
        str(find_conf().parent / "jobs" / f"{name}.py")
    )["run"]
    return run


def _publish(
    console: Console, config: JobConfig, broker: Broker, dataset: MovieLens, ratings: int | None
) -> Published:
    """Publishes the ratings and broken events of every kind; prints their numbers."""
    frame: pd.DataFrame = dataset.read_ratings().iloc[:ratings]
    odd = broken_events(frame, _SEED, _ODD_EVENTS)
    events = mix_in(rating_events([frame]), odd, every=max(1, len(frame) // _ODD_EVENTS))
    kinds = [one.kind for one in odd if one.reason]
    topic = config.streams[STREAM].topic
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(f"publishing to {topic}", total=len(frame) + len(odd))
        published = publish_events(
            broker,
            topic,
            events,
            partitions=_PARTITIONS,
            progress=lambda done: progress.update(task, completed=done),
        )
        progress.update(task, completed=len(frame) + len(odd))
    console.print(
        f"{len(frame):,} ratings of {_title(dataset)} and {len(odd)} odd events ({len(kinds)} of "
        f"{len(set(kinds))} kinds to be quarantined): {published.sent:,} "
        f"published now, {published.found:,} were there already"
    )
    return published


def _title(dataset: MovieLens) -> str:
    return "MovieLens-100K" if dataset.layout == "ml-100k" else str(dataset.folder)


def _write_lake(console: Console, root: Path, dataset: MovieLens) -> None:
    written = write_lake_files(dataset, root / "lake")
    newcomer = f"user_id,age,gender,occupation,zip_code\n{NEWCOMER},24,,student,\n"
    written.append(write_file(root / "lake" / f"users_{NEWCOMER}.csv", newcomer))
    console.print(f"lake files: {', '.join(str(path) for path in written)}")
