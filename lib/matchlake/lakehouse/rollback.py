"""Takes a model back to an earlier version, with the tables that its champions wrote.

The steps: write the row of the history, move the alias, bring back each table, close the row. After
a crash any later run repeats the steps from the row on, so they end in one state.

A table is brought back by RESTORE. Rows of erased users never come back: if the version of a table
holds such rows, it is written again without them. If its files no longer exist, the report lists
the table as TO_WRITE, and the command line names the job that writes it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.errors import ModelError, TableError
from matchlake.io.delta import Lakehouse, is_gone
from matchlake.io.delta_versions import restore_version
from matchlake.io.erasure_marks import pending_erasure
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import (
    CHALLENGER,
    CHAMPION,
    AliasChange,
    ModelVersion,
    number_of,
)
from matchlake.lakehouse.registered_models import RegisteredModel
from matchlake.lakehouse.user_erasure import HOLDS_ERASED_USER
from matchlake.schemas import Column, TableSpec
from matchlake.training.history import (
    Change,
    ModelHistory,
    done,
    newest,
    recorded_models,
    tables_of,
    version_to_return_to,
)

_log = logging.getLogger(__name__)

RESTORED = "restored"
FILTERED = "restored without erased users"
EMPTIED = "emptied: neither this version, nor one before it, nor another model wrote its rows"
TO_WRITE = "rows of this version are unknown or no longer retained: write the table anew"

NO_ROWS = -1
"""Stands for a Delta version: no champion had written the table at the time."""


@dataclass(frozen=True)
class RollbackReport:
    """What a rollback did."""

    change: Change
    tables: Mapping[str, str]
    """By table: RESTORED, FILTERED, EMPTIED or TO_WRITE."""
    holds_erased_user: bool
    """Whether the version was fitted before the erasure of a user whom it holds."""
    is_completion: bool = False
    """Whether this call only completed an earlier, interrupted rollback."""


def settled_history(lake: Lakehouse, model: RegisteredModel) -> ModelHistory:
    """The history of the model, once it agrees with MLflow.

    Completes a rollback that was interrupted, unless the alias names a third version now, and
    closes other open changes. An alias that was moved in MLflow gets a row, too.
    """
    settle(lake, model)
    return ModelHistory(lake, model.registered_name)


def settle(lake: Lakehouse, model: RegisteredModel) -> RollbackReport | None:
    """Like `settled_history`, but returns the report of a completed rollback, or None."""
    history = ModelHistory(lake, model.registered_name)
    completed = None
    changes = history.changes()
    for change in [each for each in changes if each.state == "started"]:
        now = number_of(model.tracker.with_alias(change.alias))
        if change.action == "rollback" and now in (change.version_before, change.version):
            completed = _complete(lake, model, changes, change)
        else:
            moved = change.action != "rollback" and now == change.version
            history.close(change, "done" if moved else "failed")
            _log.warning("%s, was interrupted; the alias names version %s", change, now)
        changes = history.changes()
    for alias in (CHAMPION, CHALLENGER):
        if _notice(history, changes, model.tracker, alias):
            changes = history.changes()
    return completed


def _notice(history: ModelHistory, changes: Sequence[Change], tracker: Tracker, alias: str) -> bool:
    """Records an alias that was moved outside matchlake. Returns whether it did."""
    # Reads the alias after the changes, because a change has its row before its alias moves.
    known, now = done(changes, alias)[-1:], tracker.with_alias(alias)
    before, version = (known[0].version if known else None), number_of(now)
    if before == version:
        return False
    reason = "the alias was moved in MLflow, or before this table was written"
    change = AliasChange(alias, version, before, reason, now.run_id if now else None)
    row = history.begin(change, "by hand", changes)
    if row is None:
        return False
    history.close(row, "done")
    _log.warning("the alias %s names version %s; the history did not know it", alias, version)
    return True


def rollback(
    lake: Lakehouse, model: RegisteredModel, to: str | None = None, reason: str = ""
) -> RollbackReport:
    """Makes the model version `to` champion again, and brings its tables back.

    The default is the previous champion. If an earlier rollback was interrupted, or still runs,
    this call completes that one and does nothing else. Raises ModelError if `to` cannot be
    champion, with the versions that can, or if another run changes an alias at the same time.
    Raises TableError if an erasure of one of its tables is unfinished.
    """
    completed = settle(lake, model)
    if completed is not None:
        if to not in (None, completed.change.version):
            raise ModelError(
                f"Another rollback came first: {completed.change}. It is complete now, and version "
                f"{to} was not chosen. Run the command again if you still want it."
            )
        return replace(completed, is_completion=True)
    history = ModelHistory(lake, model.registered_name)
    changes = history.changes()
    before = number_of(model.tracker.champion())
    version = to or version_to_return_to(changes)
    found = _checked(model, version, before)
    _refuse_pending(lake, model)
    row = history.begin(
        AliasChange(CHAMPION, version, before, reason or "rollback", found.run_id),
        "rollback",
        changes,
    )
    if row is None:
        raise ModelError(
            f"Another run changes an alias of {model.name} at the same time, and came first. "
            f"Nothing was changed. See `matchlake models history {model.name}`, and run the "
            "command again if it is still needed."
        )
    return _complete(lake, model, changes, row)


def _checked(model: RegisteredModel, version: str | None, champion: str | None) -> ModelVersion:
    """The version; raises ModelError unless it can become champion."""
    if version is None:
        raise ModelError(
            f"{model.name} has no earlier champion in its history. Choose a version with --to: "
            f"{_with_files(model.tracker)}."
        )
    if version == champion:
        raise ModelError(
            f"Version {version} is champion of {model.name} already. Choose another one with --to: "
            f"{_with_files(model.tracker)}."
        )
    found = model.tracker.version(version)
    if found is None or not model.tracker.has_files(found):
        cause = "does not exist" if found is None else "has lost its files"
        raise ModelError(
            f"Version {version} of {model.name} {cause}. Nothing was changed. Versions with files: "
            f"{_with_files(model.tracker)}."
        )
    return found


def _with_files(tracker: Tracker) -> str:
    found = [each.version for each in tracker.versions() if tracker.has_files(each)]
    return ", ".join(found) or "none"


def _refuse_pending(lake: Lakehouse, model: RegisteredModel) -> None:
    """Raises TableError if an erasure of one of the tables is unfinished."""
    for table, spec in model.tables.items():
        message = pending_erasure(lake, table) if spec.user_columns and lake.exists(table) else None
        if message is not None:
            raise TableError(f"{message} Nothing was changed. Then run the rollback again.")


def _complete(
    lake: Lakehouse, model: RegisteredModel, changes: Sequence[Change], change: Change
) -> RollbackReport:
    """Runs the steps of a rollback that follow its row. They can be repeated."""
    history, tracker = ModelHistory(lake, model.registered_name), model.tracker
    version = str(change.version)
    now, found = number_of(tracker.champion()), tracker.version(version)
    if now not in (change.version_before, version) or found is None:
        history.close(change, "failed")
        raise ModelError(
            f"{change}, cannot be completed: version {now} is champion now. Run the command again "
            "if it is still needed."
        )
    tracker.move_alias(CHAMPION, version)
    outcome = {
        table: _bring_back(lake, model.tables[table], number)
        for table, number in _versions(lake, model, changes, change).items()
    }
    written = {table: lake.version(table) for table, how in outcome.items() if how != TO_WRITE}
    closed = history.close(change, "done", written)
    for table, how in outcome.items():
        _log.info("%s: %s", table, how)
    return RollbackReport(closed, outcome, HOLDS_ERASED_USER in found.tags)


def _versions(
    lake: Lakehouse, model: RegisteredModel, changes: Sequence[Change], change: Change
) -> dict[str, int | None]:
    """The Delta version to bring back per table; NO_ROWS, or None if it is not known.

    Tables that neither the version nor a later champion wrote are left out.
    """
    version = str(change.version)
    earlier = [each for each in changes if each.number < change.number]
    known = tables_of(earlier, version)
    last = newest(earlier, version)
    later = {
        table for each in earlier if last and each.number > last.number for table in each.tables
    }
    existing = [table for table in model.tables if lake.exists(table)]
    if not known:
        return dict.fromkeys(existing)
    found = {table: known.get(table) for table in existing if table in known or table in later}
    others = _of_other_models(lake, model) if None in found.values() else {}
    return {
        table: others.get(table, NO_ROWS) if number is None else number
        for table, number in found.items()
    }


def _of_other_models(lake: Lakehouse, model: RegisteredModel) -> dict[str, int]:
    """The Delta version of each table as the champion of another model wrote it last."""
    found: dict[str, int] = {}
    for name in set(recorded_models(lake)) - {model.registered_name}:
        changes = ModelHistory(lake, name).changes()
        version = next((each.version for each in reversed(done(changes))), None)
        for table, number in (tables_of(changes, version) if version else {}).items():
            found[table] = max(number, found.get(table, number))
    return found


def _bring_back(lake: Lakehouse, spec: TableSpec, version: int | None) -> str:
    """Brings one table back to a Delta version. Returns RESTORED, FILTERED, EMPTIED or TO_WRITE."""
    if version is None:
        return TO_WRITE
    if version == NO_ROWS:
        lake.replace(lake.read(spec.name).limit(0), _with_columns(lake, spec, None))
        return EMPTIED
    try:
        if not _holds_erased(lake, spec, version):
            if not restore_version(lake, spec.name, version):
                return TO_WRITE
            # A user may have been erased between the check and the RESTORE.
            if not _holds_erased(lake, spec, None):
                return RESTORED
            version = lake.version(spec.name)
        lake.replace(lake.read(spec.name, version), _with_columns(lake, spec, version))
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        return TO_WRITE
    return FILTERED


def _holds_erased(lake: Lakehouse, spec: TableSpec, version: int | None) -> bool:
    """Whether a version of the table has rows of erased users. Reads it if there are any."""
    erased = lake.erased_users() if spec.user_columns else None
    if erased is None:
        return False
    rows = lake.read(spec.name, version)
    present = [name for name in spec.user_columns if name in rows.columns]
    return bool(present) and not rows.where(erased.any_of(present)).isEmpty()


def _with_columns(lake: Lakehouse, spec: TableSpec, version: int | None) -> TableSpec:
    """The table with the columns that it had at a version."""
    columns = tuple(
        Column(each.name, each.dataType.simpleString(), each.metadata.get("comment", ""))
        for each in lake.read(spec.name, version).schema
    )
    return replace(spec, columns=columns)
