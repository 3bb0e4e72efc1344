"""The serving endpoint: right once it is included, and mistakes in it are found."""

import shutil
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.dev.bundle.check import check_bundle
from matchlake.dev.bundle.endpoint_rules import endpoint_rules
from matchlake.dev.bundle.resolve import read_bundle, resolve
from matchlake.dev.bundle.shapes import type_problems

FILE = "jobs/serving_endpoint.yml"


def included(folder: Path, before: str = "", after: str = "") -> Path:
    """The bundle with the endpoint, and one text of its file replaced."""
    for name in ("conf", "jobs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("databricks.yml", "requirements-job.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    bundle = (folder / "databricks.yml").read_text()
    (folder / "databricks.yml").write_text(
        bundle.replace("  - jobs/*.job.yml\n", f"  - jobs/*.job.yml\n  - {FILE}\n")
    )
    text = (folder / FILE).read_text()
    assert before in text
    (folder / FILE).write_text(text.replace(before, after, 1))
    return folder


def test_the_endpoint_is_right(tmp_path: Path) -> None:
    root = included(tmp_path)
    (checked,) = check_bundle(root, targets=["prod"])
    assert checked.problems == ()
    endpoint = resolve(read_bundle(root), "prod").tree["resources"]["model_serving_endpoints"]
    routes = endpoint["recommender"]["config"]["traffic_config"]["routes"]
    assert sum(route["traffic_percentage"] for route in routes) == 100


_ENTITY = """            entity_name: ${resources.registered_models.recommender.id}
            entity_version: ${var.c%s_version}
            workload_size: Small
            scale_to_zero_enabled: true
"""


def test_a_model_of_another_provider_has_no_version(tmp_path: Path) -> None:
    other = "            external_model: {name: m, provider: openai, task: llm/v1/chat}\n"
    root = included(tmp_path, _ENTITY % "hampion", other)
    resolved = resolve(read_bundle(root), "dev")
    assert [*type_problems(resolved.tree), *endpoint_rules(resolved)] == []


def test_entities_without_a_name_are_two(tmp_path: Path) -> None:
    root = included(tmp_path)
    file = root / FILE
    unnamed = file.read_text().replace("- name: champion\n            ", "- ")
    unnamed = unnamed.replace("- name: challenger\n            ", "- ")
    routes = unnamed.index("        traffic_config")
    file.write_text(unnamed[:routes])
    resolved = resolve(read_bundle(root), "dev", {"challenger_version": "2"})
    assert [*type_problems(resolved.tree), *endpoint_rules(resolved)] == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("traffic_percentage: 90", "traffic_percentage: 80", "adds up to 90 percent, not to 100"),
        ("{served_entity_name: champion", "{served_entity_name: best", "no served entity best"),
        ("workload_size", "workload_sise", "did you mean workload_size?"),
        ("- name: challenger", "- name: champion", "two entities have the name champion"),
        ('default: "1"', "default: latest", "must be the number of a version"),
        ("traffic_percentage: 90", "traffic_percentage: many", "expected: int"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, before: str, after: str, said: str) -> None:
    resolved = resolve(read_bundle(included(tmp_path, before, after)), "dev")
    found = [*type_problems(resolved.tree)] or [*endpoint_rules(resolved)]
    assert any(said in str(each) and FILE in str(each) for each in found), found
