"""What the history of a model's aliases says of champions and their tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

from matchlake.training.history import (
    Change,
    newest,
    serving_at,
    tables_of,
    version_to_return_to,
)

START = datetime(2026, 5, 1, tzinfo=UTC)


def change(number: int, version: str | None, **more: Any) -> Change:
    values: dict[str, Any] = {
        "version_before": None,
        "action": "train",
        "state": "done",
        "alias": "champion",
        "tables": {},
        **more,
    }
    return Change(
        model="m",
        number=number,
        change_id=f"id{number}",
        version=version,
        reason="",
        run_id=None,
        changed_by="ann",
        started_at=START + timedelta(days=number),
        **values,
    )


def test_serving_at_is_the_last_champion_that_was_done() -> None:
    changes = [
        change(1, "1"),
        change(2, "2", alias="challenger"),
        change(3, "3", state="failed"),
        change(4, "4", state="started"),
        change(5, "5"),
        change(6, None, action="by hand"),
    ]
    served = [serving_at(changes, START + timedelta(days=day)) for day in range(8)]
    assert [each and each.version for each in served] == [
        *(None, "1", "1", "1", "1", "5"),
        *(None, None),
    ]


def test_version_to_return_to_goes_further_back_each_time() -> None:
    changes = [change(1, "1"), change(2, "2", version_before="1")]
    assert version_to_return_to(changes[:1]) is None
    assert version_to_return_to(changes) == "1"
    changes.append(change(3, "3", version_before="2"))
    assert version_to_return_to(changes) == "2"
    changes.append(change(4, "2", version_before="3", action="rollback"))
    assert version_to_return_to(changes) == "1", "and not 3"
    changes.append(change(5, "1", version_before="2", action="rollback"))
    assert version_to_return_to(changes) is None
    changes.append(change(6, "4", version_before="1"))
    assert version_to_return_to(changes) == "1"


def test_version_to_return_to_begins_with_the_version_before_the_history() -> None:
    assert version_to_return_to([change(1, "8", version_before="7")]) == "7"
    assert version_to_return_to([change(1, "8"), change(2, None, version_before="8")]) == "8"
    assert version_to_return_to([]) is None


def test_tables_of_a_version_are_those_of_its_time() -> None:
    changes = [
        change(1, "1", tables={"gold.a": 3}),
        change(2, "2", tables={"gold.a": 4, "gold.b": 0}),
        change(3, "3", tables={"gold.b": 1}),
    ]
    assert tables_of(changes, "1") == {"gold.a": 3}
    assert tables_of(changes, "3") == {"gold.a": 4, "gold.b": 1}, "a is as version 2 left it"
    assert tables_of(changes, "9") == {}


def test_tables_of_a_version_that_came_back_are_its_own() -> None:
    changes = [
        change(1, "1", tables={"gold.a": 3}),
        change(2, "2", tables={"gold.a": 4}),
        change(3, "1", action="rollback", tables={}),
        change(4, "3", tables={"gold.a": 7}),
    ]
    assert tables_of(changes, "1") == {"gold.a": 3}, "the rollback could not restore a"
    changes[2] = change(3, "1", action="rollback", tables={"gold.a": 5})
    assert tables_of(changes, "1") == {"gold.a": 5}
    last = newest(changes, "1")
    assert last is not None
    assert last.number == 3
