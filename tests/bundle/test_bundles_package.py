"""Where a customer of Databricks has databricks-bundles, its types are asked too."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
from tests.support.sources import ROOT

from matchlake.dev.bundle import check
from matchlake.dev.bundle.resolve import read_bundle, resolve


def test_their_resources_are_checked_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Strict:
        """Refuses one job, as the package does: with a ValueError."""

        @classmethod
        def from_dict(cls, value: dict[str, Any]) -> None:
            asked.append(value["name"])
            if value["name"].endswith("load_lake"):
                raise ValueError("Unexpected field 'x' for class Job")

    def find(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None)

    for name, kind in check._MODULES.values():
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(sys.modules[name], kind, Strict, raising=False)
    monkeypatch.setattr(check.importlib.util, "find_spec", find)
    resolved = resolve(read_bundle(ROOT), "prod")
    (found,) = check.bundles_problems(resolved)
    assert found.path == "resources.jobs.load_lake"
    assert (
        found.text == "databricks-bundles refuses this resource: Unexpected field 'x' for class Job"
    )
    groups = resolved.tree["resources"]
    assert len(asked) == sum(len(groups[kind]) for kind in check._MODULES)
