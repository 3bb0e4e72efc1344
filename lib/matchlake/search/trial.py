"""One trial of a search, as a value, as a line of the journal, and as a row of `gold.trials`."""

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
    """Seconds of the search when the trial ended, those before a resume included."""
    value: float | None = None
    """The metric of a complete trial; the last report of a pruned one."""
    reason: str | None = None
    """Why it was pruned or failed."""
    reports: Sequence[tuple[int, float]] = field(default=())
    """What its fit reported: a step and a value."""

    def to_json(self) -> str:
        """The trial on one line."""
        data = asdict(self) | {"started_at": self.started_at.isoformat()}
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "Trial":
        """The trial that `to_json` wrote; raises ValueError, KeyError or TypeError for others."""
        data = json.loads(line)
        reports = tuple((int(step), float(value)) for step, value in data.pop("reports"))
        started = datetime.fromisoformat(data.pop("started_at"))
        return cls(**data, started_at=started, reports=reports)


def best_of(trials: Iterable[Trial], *, maximize: bool) -> Trial | None:
    """The best complete trial; of equal ones the first. None if none is complete."""
    complete = [each for each in trials if each.state == "complete" and each.value is not None]
    sign = -1 if maximize else 1
    return min(complete, key=lambda each: (sign * (each.value or 0.0), each.number), default=None)


def trial_rows(
    trials: Sequence[Trial], names: Mapping[str, str | None], *, maximize: bool
) -> list[tuple[Any, ...]]:
    """The rows of `gold.trials`; `names` gives model, search_id, metric and run_id."""
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
