"""A trial of a search, and its forms in the journal and in `gold.trials`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from matchlake.schemas import Column, TableSpec

State = Literal["complete", "pruned", "failed"]

TRIALS = TableSpec(
    "gold.trials",
    "The trials of hyperparameter searches: what was tried, how good it was, and what failed.",
    (
        Column("model", "STRING", "Registered name of the model", nullable=False),
        Column("search_id", "STRING", "Identifies the search", nullable=False),
        Column("trial", "INT", "Number of the trial in its search, from 0", nullable=False),
        Column("state", "STRING", "complete, pruned or failed", nullable=False),
        Column("metric", "STRING", "The metric that is searched by", nullable=False),
        Column("value", "DOUBLE", "The metric on the validation part; null without one"),
        Column("is_best", "BOOLEAN", "Whether it is the best trial so far", nullable=False),
        Column("parameters", "STRING", "The values of the hyperparameters, as one JSON object"),
        Column("reason", "STRING", "Why the trial was pruned or failed"),
        Column("started_at", "TIMESTAMP", "When the trial started, UTC", nullable=False),
        Column("seconds", "DOUBLE", "Seconds that the trial took"),
        Column("run_id", "STRING", "The MLflow run of the training"),
    ),
    keys=("search_id", "trial"),
    user_columns=(),
    written_by="train_recommender",
)


class Proposal(NamedTuple):
    """The hyperparameters of a trial that has not run yet."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A finished trial."""

    number: int
    values: Mapping[str, Any]
    """The hyperparameters that were tried."""
    state: State
    started_at: datetime
    seconds: float
    elapsed: float
    """The time in seconds from the start of the search to the end of the trial, across resumes."""
    value: float | None = None
    """The metric of a complete trial; the last report of a pruned trial."""
    reason: str | None = None
    """Why it was pruned or failed."""
    reports: Sequence[tuple[int, float]] = field(default=())
    """The reports of its fit, each a step and a value."""

    def to_json(self) -> str:
        """The trial on one line."""
        data = asdict(self) | {"started_at": self.started_at.isoformat()}
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "Trial":
        """Reads a line of `to_json`; raises ValueError, KeyError or TypeError for other lines."""
        data = json.loads(line)
        reports = tuple((int(step), float(value)) for step, value in data.pop("reports"))
        started = datetime.fromisoformat(data.pop("started_at"))
        return cls(**data, started_at=started, reports=reports)


def best_of(trials: Iterable[Trial], *, maximize: bool) -> Trial | None:
    """Returns the best complete trial, the first if several are equal; None without one."""
    complete = [each for each in trials if each.state == "complete" and each.value is not None]
    sign = -1 if maximize else 1
    return min(complete, key=lambda each: (sign * (each.value or 0.0), each.number), default=None)


def trial_rows(
    trials: Sequence[Trial], names: Mapping[str, str | None], *, maximize: bool
) -> list[tuple[Any, ...]]:
    """Returns the rows of `gold.trials`; `names` has model, search_id, metric and run_id."""
    best = best_of(trials, maximize=maximize)
    return [
        (
            *(names["model"], names["search_id"], each.number, each.state, names["metric"]),
            *(each.value, each is best),
            json.dumps(dict(each.values)),
            *(each.reason, each.started_at, each.seconds, names["run_id"]),
        )
        for each in sorted(trials, key=lambda each: each.number)
    ]
