"""The demo on MovieLens-100K: the whole flow of the README, in one session, and a closing page.

Every step is a job or a call that a user can run. The demo runs them in order, and reads its
closing page from the tables of the jobs.
"""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from matchlake.config import load_config
from matchlake.dev.demo.report import print_page
from matchlake.dev.demo.stage import Stage, on_stage, with_keys
from matchlake.dev.demo.steps import Steps, log_level
from matchlake.dev.sandbox.broken_events import broken_events, mix_in
from matchlake.dev.sandbox.events import rating_events
from matchlake.dev.sandbox.lake_files import write_file, write_lake_files
from matchlake.dev.sandbox.movielens import MovieLens, bundled_movielens, open_movielens
from matchlake.dev.sandbox.publish import Published, publish_events
from matchlake.io.brokers import Broker
from matchlake.runtime import start_logging

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
NEWCOMER = "newcomer"
_STEPS = 13
_SEED = 20
_ODD_EVENTS = 300
_PARTITIONS = 4
_USER = f"user_id,age,gender,occupation,zip_code\n{NEWCOMER},24,,student,\n"


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
        published = _publish(stage, broker, dataset, ratings)
        _write_lake(stage, dataset)
        runtime = stage.start_spark(ENV)
        for name in ("ingest_events", "load_lake", "build_silver", "profile_tables"):
            stage.run_job(name, runtime)
        for name in ("build_features", "train_recommender", "recommend"):
            stage.run_job(name, runtime)
        rater = with_keys(runtime, load_config(ENV, (*RATER, *few)))
        for name in ("train_recommender", "recommend"):
            stage.run_job(name, rater, f"job {name}, Matchbox")
        print_page(console, (runtime, rater), published, stage.steps.seconds)


def _publish(stage: Stage, broker: Broker, dataset: MovieLens, count: int | None) -> Published:
    """Step: publishes the ratings, with broken events of every kind among them."""
    topic = stage.config.streams[STREAM].topic
    title = "MovieLens-100K" if dataset.layout == "ml-100k" else dataset.folder.name
    with stage.steps.step(f"{title} to Kafka", clock=False) as step:
        frame: pd.DataFrame = dataset.read_ratings().iloc[:count]
        odd = broken_events(frame, _SEED, _ODD_EVENTS)
        every = max(1, len(frame) // _ODD_EVENTS)
        events = mix_in(rating_events([frame]), odd, every=every)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeElapsedColumn(), console=stage.steps.console, transient=True)
        bar.disable = not stage.steps.console.is_terminal
        with bar:
            task = bar.add_task(f"publishing to {topic}", total=len(frame) + len(odd))
            published = publish_events(
                broker,
                topic,
                events,
                partitions=_PARTITIONS,
                progress=lambda done: bar.update(task, completed=done),
            )
        step.note = f"{published.sent:,} messages sent, {published.found:,} were there already"
    return published


def _write_lake(stage: Stage, dataset: MovieLens) -> None:
    """Step: writes the files of users and films."""
    with stage.steps.step("users and films to the lake") as step:
        folder = stage.root / "lake"
        written = write_lake_files(dataset, folder)
        written.append(write_file(folder / f"users_{NEWCOMER}.csv", _USER))
        step.note = f"{len(written)} files in {folder}"
