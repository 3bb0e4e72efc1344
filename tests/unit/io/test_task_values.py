"""A task value goes to Databricks' workflow there, to whoever collects it here."""

import sys
from types import SimpleNamespace

import pytest

from matchlake.io.task_values import collected_task_values, set_task_value


def test_set_task_value_is_collected() -> None:
    set_task_value("before", "1")
    with collected_task_values() as outer:
        set_task_value("a", "1")
        with collected_task_values() as inner:
            set_task_value("b", "2")
        set_task_value("a", "3")
    assert (outer, inner) == ({"a": "3"}, {"b": "2"})


def test_on_databricks_they_go_to_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}
    values = SimpleNamespace(set=lambda key, value: told.update({key: value}))
    runtime = SimpleNamespace(dbutils=SimpleNamespace(jobs=SimpleNamespace(taskValues=values)))
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    set_task_value("alias", "champion")
    assert told == {"alias": "champion"}
