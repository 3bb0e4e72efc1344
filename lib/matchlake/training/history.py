"""The history of the aliases of a model: `gold.model_history`, one row per change.

A row is written before its alias moves, with the state `started`, and is closed afterwards. After a
crash the row is still `started`; the next run completes the change or marks it as `failed`. The row
of a champion also has the Delta versions of the tables that were written by it.

The changes of a model are numbered. Delta takes each number once, so of two changes that begin at
the same moment one is refused.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from pyspark.sql import functions as F

from matchlake.errors import ModelError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_versions import append_numbered, update_rows
from matchlake.io.model_versions import CHAMPION, AliasChange, Recorder
from matchlake.schemas import Column, TableSpec, quote_text

Action = Literal["train", "rollback", "by hand"]
State = Literal["started", "done", "failed"]

MODEL_HISTORY = TableSpec(
    "gold.model_history",
    "Each change of an alias of a registered model: from which version to which, by whom and why.",
    (
        Column("model", "STRING", "Registered name of the model", nullable=False),
        Column("number", "BIGINT", "Number of the change, from 1 for each model", nullable=False),
        Column("change_id", "STRING", "Identifies the change", nullable=False),
        Column("alias", "STRING", "champion or challenger", nullable=False),
        Column("version", "STRING", "The version after the change; null: the alias was removed"),
        Column("version_before", "STRING", "The version before the change; null: none"),
        Column(
            "action",
            "STRING",
            "train, rollback, or by hand: moved in MLflow and noticed by a later run",
            nullable=False,
        ),
        Column(
            "state",
            "STRING",
            "started, done, or failed: the alias did not move",
            nullable=False,
        ),
        Column("reason", "STRING", "Why the alias moved"),
        Column("run_id", "STRING", "The MLflow run of the version"),
        Column("changed_by", "STRING", "The account of the job or the command"),
        Column("started_at", "TIMESTAMP", "Before the alias moved, UTC", nullable=False),
        Column("closed_at", "TIMESTAMP", "When the change was done or failed, UTC"),
        Column(
            "tables",
            "MAP<STRING,BIGINT>",
            "Of a champion: the newest Delta version of each table that it wrote",
        ),
    ),
    keys=("change_id",),
    user_columns=(),
    written_by="train_recommender",
)

_TRIES = 5


@dataclass(frozen=True)
class Change:
    """One row of the history."""

    model: str
    number: int
    change_id: str
    alias: str
    version: str | None
    version_before: str | None
    action: Action
    state: State
    reason: str
    run_id: str | None
    changed_by: str
    started_at: datetime
    closed_at: datetime | None = None
    tables: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """The change in words."""
        began = self.started_at.isoformat(sep=" ", timespec="seconds")
        before = self.version_before or "none"
        return (
            f"{self.action} of the {self.alias} from version {before} to {self.version}, begun at "
            f"{began} by {self.changed_by}"
        )


def recorded_models(lake: Lakehouse) -> list[str]:
    """The registered names of all models in the history, sorted; a Spark job if it exists."""
    if not lake.exists(MODEL_HISTORY.name):
        return []
    return sorted(
        row[0] for row in lake.read(MODEL_HISTORY.name).select("model").distinct().collect()
    )


@dataclass(frozen=True)
class ModelHistory:
    """The history of one model, by its registered name."""

    lake: Lakehouse
    model: str

    def changes(self) -> list[Change]:
        """All changes, oldest first; one Spark job if the table exists."""
        if not self.lake.exists(MODEL_HISTORY.name):
            return []
        rows = self.lake.read(MODEL_HISTORY.name).where(F.col("model") == self.model)
        # Spark gives times without a zone, in the zone of the process: text has no such zone.
        times = {
            name: F.date_format(name, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS")
            for name in ("started_at", "closed_at")
        }
        found = rows.withColumns(times).select(MODEL_HISTORY.column_names).collect()
        return sorted((_change(row.asDict()) for row in found), key=lambda each: each.number)

    def add(self, change: AliasChange, action: Action) -> Change:
        """Writes the row of a change that is about to happen, whatever happened before."""
        for _ in range(_TRIES):
            row = self.begin(change, action, self.changes())
            if row is not None:
                return row
        raise ModelError(
            f"{MODEL_HISTORY.name} takes no change of {self.model}: other runs changed its aliases "
            "at the same time. Run the job again."
        )

    def begin(self, change: AliasChange, action: Action, known: Sequence[Change]) -> Change | None:
        """Writes the row of a change that builds on the changes `known`.

        If there is a newer change, nothing is written, and the result is None.
        """
        row = Change(
            self.model,
            known[-1].number + 1 if known else 1,
            uuid.uuid4().hex,
            *(change.alias, change.version, change.before, action, "started"),
            *(change.reason, change.run_id, self._account(), datetime.now(UTC)),
        )
        return row if self._insert(row) else None

    def close(
        self, change: Change, state: State, tables: Mapping[str, int] | None = None
    ) -> Change:
        """Closes the row of a change, with the versions of the tables that go with it."""
        values = {"state": quote_text(state), "closed_at": "current_timestamp()"}
        if tables is not None:
            values["tables"] = _map_sql(tables)
        self._update(change, values)
        return replace(change, state=state, tables=change.tables if tables is None else tables)

    def note_tables(self, version: str, tables: Mapping[str, int]) -> None:
        """Notes the versions of tables that the champion `version` has just written."""
        row = newest(self.changes(), version)
        if row is not None:
            self._update(row, {"tables": _map_sql({**row.tables, **tables})})

    def recording(self, action: Action) -> Recorder:
        """A context for one change of an alias: `started` before it, `done` or `failed` after."""

        @contextmanager
        def record(change: AliasChange) -> Iterator[None]:
            row = self.add(change, action)
            try:
                yield
            except BaseException:
                self.close(row, "failed")
                raise
            self.close(row, "done")

        return record

    def _insert(self, row: Change) -> bool:
        """Appends the row; false if another change has taken its number."""
        values = tuple(getattr(row, name) for name in MODEL_HISTORY.column_names)
        frame = self.lake.frame([values], MODEL_HISTORY)
        append_numbered(
            self.lake, frame, MODEL_HISTORY, (f"model_history/{self.model}", row.number)
        )
        rows = self.lake.read(MODEL_HISTORY.name)
        return not rows.where(F.col("change_id") == row.change_id).isEmpty()

    def _update(self, change: Change, values: Mapping[str, str]) -> None:
        where = f"change_id = {quote_text(change.change_id)}"
        update_rows(self.lake, MODEL_HISTORY.name, values, where)

    def _account(self) -> str:
        return str(self.lake.spark.sql("SELECT current_user()").collect()[0][0])


def done(changes: Sequence[Change], alias: str = CHAMPION) -> list[Change]:
    """The completed changes of an alias, oldest first."""
    return [each for each in changes if each.alias == alias and each.state == "done"]


def newest(changes: Sequence[Change], version: str) -> Change | None:
    """The last change that made `version` champion; None without one."""
    found = [each for each in done(changes) if each.version == version]
    return found[-1] if found else None


def serving_at(changes: Sequence[Change], time: datetime) -> Change | None:
    """The change that made the champion of that time; None if there was no champion."""
    found = [each for each in done(changes) if each.started_at <= time]
    return found[-1] if found and found[-1].version is not None else None


def version_to_return_to(changes: Sequence[Change]) -> str | None:
    """The champion before the current one, without those from which someone went back.

    After a rollback from 3 to 2 it is the champion before 2, and not 3.
    """
    served: list[str] = []
    for each in done(changes):
        if not served and each.version_before is not None:
            served.append(each.version_before)
        if each.version in served:
            del served[served.index(each.version) :]
        served += [each.version] if each.version is not None else []
    is_vacant = bool(served) and done(changes)[-1].version is None
    return served[-1] if is_vacant else served[-2] if len(served) > 1 else None


def tables_of(changes: Sequence[Change], version: str) -> dict[str, int]:
    """The Delta version of each table as it was while `version` was last champion.

    A table that this champion did not write is as the champion before it left it.
    """
    tables: dict[str, int] = {}
    served = done(changes)
    last = max((i for i, each in enumerate(served) if each.version == version), default=-1)
    for i, each in enumerate(served[: last + 1]):
        if any(each.version == before.version for before in served[:i]):
            tables = tables_of(served[:i], each.version or "")
        tables.update(each.tables)
    return tables


def _change(row: Mapping[str, object]) -> Change:
    values = dict(row)
    for name in ("started_at", "closed_at"):
        text = values[name]
        values[name] = None if text is None else datetime.fromisoformat(f"{text}+00:00")
    values["tables"] = dict(values["tables"] or {})  # type: ignore[call-overload]
    return Change(**values)  # type: ignore[arg-type]


def _map_sql(tables: Mapping[str, int]) -> str:
    """A map of names to numbers as SQL."""
    pairs = ", ".join(f"{quote_text(name)}, {int(number)}" for name, number in tables.items())
    return f"CAST(map({pairs}) AS MAP<STRING,BIGINT>)"
