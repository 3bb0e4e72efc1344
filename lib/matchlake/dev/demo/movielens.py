"""The demo on MovieLens-100K: the whole flow of the README, in one session, and a closing page.

Every step is a job or a call that a user can run. The demo runs them in order, and reads its
closing page from the tables of the jobs.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from matchlake.config import load_config
from matchlake.dev.demo.report import print_page
from matchlake.dev.demo.stage import Stage, job, on_stage, with_keys
from matchlake.dev.demo.steps import Steps, log_level
from matchlake.dev.sandbox.broken_events import broken_events, mix_in
from matchlake.dev.sandbox.events import rating_events
from matchlake.dev.sandbox.lake_files import write_file, write_lake_files
from matchlake.dev.sandbox.movielens import MovieLens, bundled_movielens, open_movielens
from matchlake.dev.sandbox.publish import Published, publish_events
from matchlake.dev.sandbox.topics import Event
from matchlake.io.brokers import Broker
from matchlake.runtime import Runtime, start_logging

ENV = "demo"
STREAM = "rating_events"
RANKER = (
    "recommend.tables=[recommendations]",
    f"ingest.streams=[{STREAM}]",
    "profile.tables=[silver.interactions, bronze.users]",
)
"""The first model ranks items; the second one gives related items and users."""
RATER = (
    "tracking.model=rater",
    "train.algorithm=matchbox",
    # With the history as features the chains need four times as many sweeps to mix.
    "train.matchbox={rank: 8, samples: 80, burn_in: 80, thinning: 2, history_features: false}",
    "train.refit_on_all_data=false",
    "train.metric=rmse",
    "train.azure_ml_modes={}",
    "recommend.tables=[related_items, related_users, predicted_ratings, feature_effects]",
)
"""Overrides for the second model, which predicts ratings."""
SLICE = (
    "train.require_better_than_baselines=false",
    "train.matchbox={rank: 4, samples: 50, burn_in: 50, thinning: 2, history_features: false}",
)
"""Overrides for a part of the ratings: it may be too small to learn more than popularity, and its
fits are short."""
NEWCOMER, LEAVER = "newcomer", "5000"
"""A user without ratings, and one who is erased."""
_MORE_USERS = {"users_1.csv": NEWCOMER, "users_2.csv": LEAVER}
_STEPS = 15
_SEED = 20
_ODD_EVENTS = 300
_PARTITIONS = 4
_FIRST = 0.8
"""The fraction of the events that arrives before the others."""
_USER = "user_id,age,gender,occupation,zip_code\n{},24,,student,\n"


@dataclass(frozen=True)
class Ratings:
    """The events of the topic, in their order."""

    title: str
    events: list[Event]
    ratings: int
    odd: int

    @property
    def first(self) -> list[Event]:
        """The events that arrive first."""
        return self.events[: int(len(self.events) * _FIRST)]


def run_movielens(
    console: Console,
    ratings: int | None = None,
    movielens: Path | None = None,
    *,
    verbose: bool = False,
) -> None:
    """Runs the demo on the first `ratings` ratings (by default all) and prints its closing page.

    The ratings are those of MovieLens-100K, or of the MovieLens set in the folder `movielens`.
    Tables, tracking store and broker data stay below the lakehouse folder; a broker that the demo
    started is stopped. A second run publishes and ingests nothing twice.
    """
    start_logging(log_level(verbose=verbose))
    dataset = open_movielens(movielens) if movielens else bundled_movielens()
    few = SLICE if ratings else ()
    stage = Stage(load_config(ENV, (*RANKER, *few)), Steps(console, _STEPS, verbose))
    with on_stage(stage.root):
        broker = stage.start_services()
        events = _events(dataset, ratings)
        _publish(stage, broker, events.first, events)
        _write_lake(stage, dataset)
        runtime = stage.start_spark(ENV)
        for name in ("ingest_events", "load_lake", "build_silver", "profile_tables"):
            stage.run_job(name, runtime)
        published = _later_ratings(stage, broker, events, runtime)
        _erase(stage, runtime)
        for name in ("build_features", "train_recommender", "recommend"):
            stage.run_job(name, runtime)
        rater = with_keys(runtime, load_config(ENV, (*RATER, *few)))
        for name in ("train_recommender", "recommend"):
            stage.run_job(name, rater, f"job {name}, Matchbox")
        print_page(console, (runtime, rater), published, stage.steps.seconds)


def _events(dataset: MovieLens, count: int | None) -> Ratings:
    """The ratings with broken events of every kind among them, and three of the user who leaves."""
    frame: pd.DataFrame = dataset.read_ratings().iloc[:count]
    leaving = frame.iloc[:3].assign(user_id=LEAVER)
    odd = broken_events(frame, _SEED, _ODD_EVENTS)
    mixed = mix_in(rating_events([leaving, frame]), odd, every=max(1, len(frame) // _ODD_EVENTS))
    title = "MovieLens-100K" if dataset.layout == "ml-100k" else str(dataset.folder)
    return Ratings(title, list(mixed), len(frame) + len(leaving), len(odd))


def _publish(stage: Stage, broker: Broker, events: list[Event], all_events: Ratings) -> None:
    """Step: publishes the first events."""
    topic = stage.config.streams[STREAM].topic
    with stage.steps.step(f"{all_events.title} to Kafka", clock=False) as step:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeElapsedColumn(), console=stage.steps.console, transient=True)
        bar.disable = not stage.steps.console.is_terminal
        with bar:
            task = bar.add_task(f"publishing to {topic}", total=len(events))
            published = publish_events(
                broker,
                topic,
                events,
                partitions=_PARTITIONS,
                progress=lambda done: bar.update(task, completed=done),
            )
        step.note = f"{published.sent:,} messages sent, {published.found:,} were there already"


def _write_lake(stage: Stage, dataset: MovieLens) -> None:
    """Step: writes the files of users and films."""
    with stage.steps.step("users and films to the lake") as step:
        folder = stage.root / "lake"
        written = write_lake_files(dataset, folder)
        for name, user in _MORE_USERS.items():
            written.append(write_file(folder / name, _USER.format(user)))
        step.note = f"{len(written)} files in {folder}"


def _later_ratings(stage: Stage, broker: Broker, events: Ratings, runtime: Runtime) -> Published:
    """Step: the other ratings arrive; the jobs take them up, and the profile shows the drift."""
    topic = stage.config.streams[STREAM].topic
    with stage.steps.step("later ratings, and their drift") as step:
        done = publish_events(broker, topic, events.events, partitions=_PARTITIONS)
        for name in ("ingest_events", "build_silver", "profile_tables"):
            job(name)(runtime)
        step.note = f"{done.sent:,} messages sent"
        if runtime.lakehouse.exists("gold.drift"):
            rows = runtime.lakehouse.read("gold.drift").orderBy("psi", ascending=False).limit(1)
            most = rows.collect()[0]
            step.note += f"; most drift: {most['column_name']}, PSI {most['psi']:.2f}"
    return done


def _erase(stage: Stage, runtime: Runtime) -> None:
    """Step: erases the user who leaves from files, tables, and the tables' old versions."""
    keys = (*RANKER, f"erase.user_id={LEAVER}")
    with stage.steps.step(f"job erase_user, user {LEAVER}") as step:
        (stage.root / "lake" / "users_2.csv").unlink(missing_ok=True)
        job("erase_user")(with_keys(runtime, load_config(ENV, keys)))
        name = runtime.lakehouse.name(runtime.config.streams[STREAM].table)
        gone = runtime.spark.sql(f"SELECT count(*) FROM {name} WHERE _status = 'erased'")
        step.note = f"{gone.collect()[0][0]} ratings and the user's row are gone"
