"""The history of the aliases of a model: `gold.model_history`, one row per change.

A row is written before its alias moves, with the state `started`, and is closed afterwards. After a
crash the state is still `started`; the next run completes the change or marks it as `failed`. The
row of a champion also has the Delta versions of the tables that the champion wrote.

The changes of a model are numbered. Delta accepts each number only once, so if two changes start at
the same moment, one is refused.
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
    "Each change of an alias of a registered model: the versions, the account and the reason.",
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
            "train, rollback, or by hand: moved in MLflow and recorded by a later run",
            nullable=False,
        ),
        Column(
            "state",
            "STRING",
            "started, done, or failed (the alias did not move)",
            nullable=False,
        ),
        Column("reason", "STRING", "Why the alias moved"),
        Column("run_id", "STRING", "The MLflow run of the version"),
        Column("changed_by", "STRING", "The account that ran the job or command"),
        Column("started_at", "TIMESTAMP", "Before the alias moved, UTC", nullable=False),
        Column("closed_at", "TIMESTAMP", "When the change was done or failed, UTC"),
        Column(
            "tables",
            "MAP<STRING,BIGINT>",
            "For a champion: the newest Delta version of each table that it wrote",
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
        """Returns the change in words."""
        began = self.started_at.isoformat(sep=" ", timespec="seconds")
        before = self.version_before or "none"
        return (
            f"{self.action} of the {self.alias} from version {before} to {self.version}, begun at "
            f"{began} by {self.changed_by}"
        )


def recorded_models(lake: Lakehouse) -> list[str]:
    """Returns the registered names of all models, sorted; one Spark job if the table exists."""
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
        """Returns all changes, oldest first; one Spark job if the table exists."""
        if not self.lake.exists(MODEL_HISTORY.name):
            return []
        rows = self.lake.read(MODEL_HISTORY.name).where(F.col("model") == self.model)
        # Times are read as strings: Spark returns timestamps without a zone, in the process' local
        # time.
        times = {
            name: F.date_format(name, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS")
            for name in ("started_at", "closed_at")
        }
        found = rows.withColumns(times).select(MODEL_HISTORY.column_names).collect()
        return sorted((_change(row.asDict()) for row in found), key=lambda each: each.number)

    def add(self, change: AliasChange, action: Action) -> Change:
        """Writes the row of a change before it happens, after any other changes."""
        for _ in range(_TRIES):
            row = self.begin(change, action, self.changes())
            if row is not None:
                return row
        raise ModelError(
            f"{MODEL_HISTORY.name} could not record a change of {self.model}: other runs changed "
            "its aliases at the same time. Run the job again."
        )

    def begin(self, change: AliasChange, action: Action, known: Sequence[Change]) -> Change | None:
        """Writes the row of a change that follows the changes `known`.

        If there is a newer change, it writes nothing and returns None.
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
        """Closes the row of a change, with the versions of the champion's tables."""
        values = {"state": quote_text(state), "closed_at": "current_timestamp()"}
        if tables is not None:
            values["tables"] = _map_sql(tables)
        self._update(change, values)
        return replace(change, state=state, tables=change.tables if tables is None else tables)

    def note_tables(self, version: str, tables: Mapping[str, int]) -> None:
        """Records the versions of tables that the champion `version` has written."""
        row = newest(self.changes(), version)
        if row is not None:
            self._update(row, {"tables": _map_sql({**row.tables, **tables})})

    def recording(self, action: Action) -> Recorder:
        """Returns a context for a change: writes `started` before, `done` or `failed` after."""

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
        """Appends the row. Returns false if another change has the same number."""
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
    """Returns the completed changes of an alias, oldest first."""
    return [each for each in changes if each.alias == alias and each.state == "done"]


def newest(changes: Sequence[Change], version: str) -> Change | None:
    """Returns the last change that made `version` champion, or None."""
    found = [each for each in done(changes) if each.version == version]
    return found[-1] if found else None


def serving_at(changes: Sequence[Change], time: datetime) -> Change | None:
    """Returns the change that made the champion of that time; None without a champion."""
    found = [each for each in done(changes) if each.started_at <= time]
    return found[-1] if found and found[-1].version is not None else None


def version_to_return_to(changes: Sequence[Change]) -> str | None:
    """Returns the champion before the current one, without versions that were rolled back.

    For example, after a rollback from 3 to 2 it returns the champion before 2, and not 3.
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
    """Returns the Delta version of each table while `version` was last champion.

    A table that this champion did not write has the version of the champion before.
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
    """Returns a map of names to numbers as SQL."""
    pairs = ", ".join(f"{quote_text(name)}, {int(number)}" for name, number in tables.items())
    return f"CAST(map({pairs}) AS MAP<STRING,BIGINT>)"
