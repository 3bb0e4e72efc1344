"""Dashboards and the Genie space: what the bundle deploys is what the specs give."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.main import app
from matchlake.errors import ConfigError
from matchlake.reports.catalogue import report_named, reports
from matchlake.reports.dashboards import render_dashboard
from matchlake.reports.spec import Field, Widget

SPECS = reports("bronze.ingest_batches", "bronze.lake_files")
FOLDER = ROOT / "jobs" / "dashboards"


def test_the_committed_dashboards_are_those_of_the_specs(tmp_path: Path) -> None:
    command = ["report", "all", "--format", "dashboard", "--out", str(tmp_path), "--env", "demo"]
    done = CliRunner().invoke(app, [*command, "--conf-dir", str(ROOT / "conf")])
    assert done.exit_code == 0, done.output
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in FOLDER.iterdir()}, (
        "run: matchlake report all --format dashboard --env demo --out jobs/dashboards"
    )


def test_options_of_pages_are_refused_for_dashboards(tmp_path: Path) -> None:
    for option in ("--check", "--user=42"):
        command = ["report", "all", "--format", "dashboard", "--out", str(tmp_path), option]
        done = CliRunner().invoke(app, [*command, "--conf-dir", str(ROOT / "conf")])
        assert isinstance(done.exception, ConfigError), done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SPECS)
def test_a_dashboard_shows_each_widget_once_without_overlap(name: str) -> None:
    data = json.loads(render_dashboard(SPECS[name]))
    datasets = {each["name"] for each in data["datasets"]}
    assert datasets == {widget.name for widget in SPECS[name].widgets}
    (page,) = data["pages"]
    taken: set[tuple[int, int]] = set()
    for each in page["layout"]:
        at = each["position"]
        cells = {
            (at["x"] + x, at["y"] + y) for x in range(at["width"]) for y in range(at["height"])
        }
        assert not cells & taken
        assert at["x"] + at["width"] <= 6
        taken |= cells
        _check_fields(each["widget"], datasets)


def _check_fields(widget: dict[str, Any], datasets: set[str]) -> None:
    if "spec" not in widget or widget["spec"]["widgetType"].startswith("filter"):
        return
    (query,) = widget["queries"]
    assert query["query"]["datasetName"] in datasets
    named = {field["name"] for field in query["query"]["fields"]}
    encodings = widget["spec"]["encodings"]
    used = encodings.get("columns") or list(encodings.values())
    assert {each["fieldName"] for each in used} == named


def test_a_genie_space_names_the_catalog_and_no_user() -> None:
    space = json.loads((FOLDER / "analysts.genie.json").read_text())
    tables = [each["identifier"] for each in space["data_sources"]["tables"]]
    assert "main.gold.top_items" in tables
    assert tables == sorted(tables)
    examples = space["instructions"]["example_question_sqls"]
    assert [each["id"] for each in examples] == sorted(each["id"] for each in examples)
    assert all(" main." in each["sql"][0] for each in examples)
    assert ":user_id" not in json.dumps(space)


def test_an_unknown_report_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="Reports: ingestion, recommendations, models, drift, us"):
        report_named("sales", SPECS)


def test_a_chart_with_a_wrong_number_of_fields_is_refused() -> None:
    field = Field("a", "number", "A")
    with pytest.raises(ValueError, match=r"a bar has 2 field\(s\), not 1"):
        Widget("w", "W", "bar", (), "", (field,))
