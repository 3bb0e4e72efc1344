"""Every job of the bundle, run from its YAML on a small lake and a stream of a test's own."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.support.sources import ROOT
from tests.support.streams import produce

from matchlake.config import load_config
from matchlake.dev.bundle.resolve import Resolved, read_bundle, resolve
from matchlake.dev.bundle.tasks import script_of
from matchlake.dev.bundle.workflow import LOCAL_CATALOG, TaskRun, Workflow, local_conf
from matchlake.dev.sandbox.topics import create_topic
from matchlake.lakehouse.job_order import job_order

USERS, ITEMS = 30, 20
RATED = [(u, i) for u in range(USERS) for i in range(ITEMS) if (u + i) % 3]
# Small enough to be quick; every step is the product's.
QUICK = {
    "train.als.iterations": 2,
    "train.als.rank": 4,
    "train.require_better_than_baselines": False,
    "recommend.k": 3,
    "recommend.related": 2,
}
TOPIC = "bundle-jobs"
OPERATIONS = ("reconcile", "replay_quarantine", "erase_user", "smoke")
"""Jobs of no workflow, which have to run on both kinds of Spark."""
PARAMETERS = {
    # Otherwise the stream would go on without end.
    "ingest_events_continuous": {"trigger": "available_now"},
    "replay_quarantine": {"stream": "rating_events", "error_code": "malformed_json"},
    "erase_user": {"user_id": "no-such-user-7431"},  # in no file, the code in models included
}
"""What a run gives a job beside the defaults of its parameters."""
# Each rating with the one that its user gave last before it or at its time.
_LAST = {"table": "silver.interactions", "keys": ["user_id"], "label_timestamp": "event_time"}
LABELLED = {
    "table": "gold.rated",
    "comment": "Ratings beside the last one of the same user.",
    "rows": {
        "labels": "silver.interactions",
        "history_tables": [_LAST | {"event_time": "event_time", "prefix": "last_"}],
    },
}

MODEL = {
    "rows": "bronze.users",
    "label": "age",
    "task": "regression",
    "keys": ["user_id"],
    "features": {"occupation": {"kind": "one_hot", "handle_null": "indicator"}},
    "trainer": {"kind": "sklearn", "estimator": "Ridge"},
    "gate": {"require_better_than_constant": False},
    "table": "gold.ages",
    "comment": "The age of each user, by occupation.",
}


@dataclass(frozen=True)
class Place:
    """Where the jobs of one test read and write."""

    folder: Path
    broker: str

    def prepare(self) -> None:
        """Publishes events, one of them quarantined, and puts files into the lake."""
        create_topic(self.broker, TOPIC, 2)
        produce(self.broker, TOPIC, [*_events(), b"not json"])
        _lake_files(self.folder / "lake")

    @property
    def conf(self) -> Path:
        """The folder of the conf that `write_conf` writes."""
        return self.folder / "conf"

    def write_conf(self) -> None:
        """Writes the conf of dev, and of local for notebooks, that names only this place."""
        local_conf("dev", ROOT / "conf", self.conf)
        made = yaml.safe_load((self.conf / "base.yml").read_text())
        keys: dict[str, Any] = {
            "lakehouse": str(self.folder),
            "checkpoints": f"{self.folder}/checkpoints",
            "features.folder": f"{self.folder}/features",
            "kafka.bootstrap_servers": self.broker,
            "streams.rating_events.topic": TOPIC,
            "training_sets.rated": LABELLED,
            "models.ages": MODEL,
            # The ages of this lake follow no rule, and `score_model` needs a champion.
            "models.user_age.gate": {"require_better_than_constant": False},
            **QUICK,
        }
        for key, value in keys.items():
            *sections, name = key.split(".")
            section = made
            for each in sections:
                section = section[each]
            section[name] = value
        (self.conf / "base.yml").write_text(yaml.safe_dump(made, sort_keys=False))
        (self.conf / "local.yml").write_text("{}\n")

    def arguments(self) -> list[str]:
        """The arguments that make the jobs read this conf."""
        return ["--conf-dir", str(self.conf)]


def run_jobs(place: Place, *, serverless: bool) -> Iterator[TaskRun]:
    """Runs the jobs that have clusters, or the one that has none; gives each task as it ended."""
    resolved = resolve(read_bundle(ROOT), "dev", {"catalog": LOCAL_CATALOG})
    assert resolved.problems == ()
    for key in _in_order(resolved, place):
        job = resolved.jobs[key]
        if key in OPERATIONS or bool(job.get("environments")) is serverless:
            runs: list[TaskRun] = []
            Workflow(resolved, ROOT, place.arguments(), runs.append).run(key, PARAMETERS.get(key))
            yield from runs


def train_another(place: Place, model: str, choices: dict[str, Any]) -> list[TaskRun]:
    """Runs train_recommender, and what it calls, for a model of another name and other choices."""
    resolved = resolve(read_bundle(ROOT), "dev", {"catalog": LOCAL_CATALOG})
    settings = _settings({"tracking.model": f"{LOCAL_CATALOG}.gold.{model}", **choices})
    return Workflow(resolved, ROOT, [*place.arguments(), *settings]).run("train_recommender")


def _settings(keys: dict[str, Any]) -> list[str]:
    return [part for k, v in keys.items() for part in ("--set", f"{k}={json.dumps(v)}")]


def job_names(*, serverless: bool) -> set[str]:
    """The jobs that `run_jobs` runs."""
    jobs = resolve(read_bundle(ROOT), "dev", {"catalog": LOCAL_CATALOG}).jobs
    ours = {key for key, job in jobs.items() if bool(job.get("environments")) is serverless}
    return ours | set(OPERATIONS)


def _in_order(resolved: Resolved, place: Place) -> list[str]:
    """The jobs, each after those that write what it reads; those of SQL alone at the end."""

    order = job_order(load_config("dev", conf_dir=place.conf))

    def at(key: str) -> int:
        scripts = [script_of(task, ROOT) for task in resolved.jobs[key]["tasks"]]
        names = [path.stem for path in scripts if path]
        return max((order.index(name) for name in names if name in order), default=len(order))

    return sorted(resolved.jobs, key=at)


def _events() -> list[bytes]:
    return [
        json.dumps(
            {
                "user_id": f"u{u}",
                "item_id": f"i{i}",
                "rating": _rating(u, i),
                "event_time": f"2024-05-{1 + at % 28:02d}T10:00:00Z",
            }
        ).encode()
        for at, (u, i) in enumerate(RATED)
    ]


def _rating(user: int, item: int) -> int:
    """4 or 5 for half of the items, so that notebooks find two classes; 1 to 5 for the others."""
    return 4 + (user * item) % 2 if item % 4 < 2 else 1 + (user * item) % 5


def _lake_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    kinds = ("engineer", "writer", "artist")
    users = [f"u{u},{20 + u},{'MF'[u % 2]},{kinds[u % 3]},{10000 + u}" for u in range(USERS)]
    header = "user_id,age,gender,occupation,zip_code"
    (folder / "users.csv").write_text("\n".join([header, *users]) + "\n")
    items = [
        {"item_id": f"i{i}", "title": f"Item {i}", "year": 1990 + i, "genres": ["A", "B"][: i % 3]}
        for i in range(ITEMS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
