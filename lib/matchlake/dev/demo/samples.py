"""The demo of a project: its jobs on the files of its folder `samples`."""

from pathlib import Path

from rich.console import Console

from matchlake.config import JobConfig, find_conf, load_config
from matchlake.dev.demo.report import print_answer, print_end
from matchlake.dev.demo.stage import Stage, on_stage
from matchlake.dev.demo.steps import Steps, log_level
from matchlake.dev.sandbox.lake_files import write_file
from matchlake.dev.sandbox.publish import publish_events
from matchlake.dev.sandbox.topics import Event
from matchlake.errors import ConfigError
from matchlake.io.brokers import Broker
from matchlake.lakehouse.job_order import job_order
from matchlake.lakehouse.views import create_views
from matchlake.runtime import start_logging

ENV = "local"
_PARTITIONS = 4
_QUERY = "SELECT * FROM gold.recommendations ORDER BY user_id, rank LIMIT 10"


def run_samples(console: Console, *, verbose: bool = False) -> None:
    """Runs the jobs of the project on its samples, and prints the first recommendations.

    `samples/STREAM.jsonl` has a message per line, which goes to the topic of the stream;
    `samples/lake` has the files of the lake. A second run publishes and loads nothing twice.
    Raises ConfigError if there are no samples.
    """
    start_logging(log_level(verbose=verbose))
    config = load_config(ENV)
    samples = find_conf().parent / "samples"
    messages = {name: samples / f"{name}.jsonl" for name in config.streams}
    messages = {name: path for name, path in messages.items() if path.is_file()}
    if not messages and not (samples / "lake").is_dir():
        raise ConfigError(
            f"There are no samples: put messages, one per line, into {samples}/STREAM.jsonl with "
            f"the name of a stream ({', '.join(config.streams) or 'conf declares none'}), and "
            f"files of the lake into {samples}/lake."
        )
    jobs = [name for name in job_order(config) if _has_work(name, config)]
    stage = Stage(config, Steps(console, 3 + len(jobs), verbose))
    with on_stage(stage.root):
        _bring(stage, stage.start_services(), messages, samples / "lake")
        runtime = stage.start_spark(ENV)
        for name in jobs:
            stage.run_job(name, runtime)
        create_views(runtime.lakehouse, config)
        print_answer(console, runtime, _QUERY)
        print_end(console, stage.steps.seconds, [f'matchlake sql "{_QUERY}"'])


def _has_work(name: str, config: JobConfig) -> bool:
    """Whether conf declares something that the job reads or writes."""
    models = config.silver.interactions is not None
    return {
        "ingest_events": bool(config.streams),
        "load_lake": bool(config.lake.sources),
        "build_silver": bool(config.silver.tables),
        "build_features": bool(config.features.tables),
        "profile_tables": bool(config.profile.tables),
        "build_training_sets": bool(config.training_sets),
        "train_recommender": models,
        "recommend": models,
        "publish_online": bool(config.online.stores and config.online.tables),
    }.get(name, False)


def _bring(stage: Stage, broker: Broker, messages: dict[str, Path], lake: Path) -> None:
    """Step: publishes the sample messages, and copies the sample files to the lake."""
    with stage.steps.step("samples to Kafka and lake") as step:
        notes = []
        for name, path in messages.items():
            events = (Event(None, line) for line in path.read_bytes().splitlines())
            topic = stage.config.streams[name].topic
            done = publish_events(broker, topic, events, partitions=_PARTITIONS)
            notes.append(f"{done.sent:,} messages sent, {done.found:,} were there already")
        folder = stage.root / "lake"
        files = sorted(path for path in lake.rglob("*") if path.is_file()) if lake.is_dir() else []
        for path in files:
            target = folder / path.relative_to(lake)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, path.read_bytes())
        if files:
            notes.append(f"{len(files)} file(s)")
        step.note = "; ".join(notes)
