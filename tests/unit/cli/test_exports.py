"""`matchlake models export` and `verify`, each with the fresh process that verifies."""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import typer
from tests.support.scoring_cases import as_columns, hostile_rows, random_model
from typer.testing import CliRunner

from matchlake.cli.models import models_app
from matchlake.errors import ModelError
from matchlake.model_store.exports import verify_export
from matchlake.model_store.scoring_folder import save_scoring_model

COLUMNS = as_columns(hostile_rows(120))
RUNNER = CliRunner()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, _ = random_model("linear", COLUMNS, np.random.default_rng(1))
    save_scoring_model(model, tmp_path / "saved", pd.DataFrame(COLUMNS))
    return tmp_path / "saved"


def run(*arguments: str) -> str:
    result = RUNNER.invoke(models_app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def export(saved: Path, kind: str, name: str) -> Path:
    path = saved.parent / name
    text = run("export", str(saved), "--format", kind, "--to", str(path))
    assert "held-out rows, largest difference" in text
    verified, difference = verify_export(path) if kind != "sql" else (None, 0.0)
    assert verified is None or verified.largest_difference == difference
    assert sorted(each.name for each in saved.parent.iterdir()) == sorted(["saved", name])
    return path


def test_an_onnx_export_is_verified_and_a_changed_one_refused(saved: Path) -> None:
    path = export(saved, "onnx", "m.onnx")
    figures = json.loads(run("verify", str(path), "--json"))
    assert figures["largest_difference"] <= figures["tolerance"] == 1e-12
    with pytest.raises(ModelError, match=r"exists\. Remove it first"):
        run("export", str(saved), "--format", "onnx", "--to", str(path))
    graph = onnx.load_model(path)
    graph.graph.node[0].name = "changed"
    onnx.save_model(graph, path)
    with pytest.raises(ModelError, match="was changed after its export"):
        run("verify", str(path))


def test_an_export_that_scores_otherwise_is_refused_and_removed(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is changed between the expected scores and the export."""
    from matchlake.model_store import exports  # noqa: PLC0415

    content = exports._content

    def changed(model: exports.ScoringModel, kind: exports.Format) -> bytes:
        head = model.head.model_copy(update={"intercepts": (2.5, *model.head.intercepts[1:])})  # type: ignore[union-attr]
        return content(model.model_copy(update={"head": head}), kind)

    monkeypatch.setattr(exports, "_content", changed)
    with pytest.raises(ModelError, match=r"The export is refused: (.*differ by|Row)"):
        run("export", str(saved), "--format", "json", "--to", str(saved.parent / "m.json"))
    assert [each.name for each in saved.parent.iterdir()] == ["saved"]


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "name"), [("json", "m.json"), ("pickle", "m.pkl")])
def test_other_formats_are_verified(saved: Path, kind: str, name: str) -> None:
    export(saved, kind, name)


@pytest.mark.soak
def test_a_folder_is_verified_and_a_changed_one_refused(saved: Path) -> None:
    path = export(saved, "folder", "m")
    names = {each.name for each in path.iterdir()}
    assert names >= {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    model = next(path.rglob("scoring_model.json"))
    model.write_text(model.read_text().replace('"intercepts":[', '"intercepts":[1e-9,', 1))
    with pytest.raises(ModelError, match="was changed after its export"):
        verify_export(path)


@pytest.mark.soak
def test_a_query_is_verified_by_spark(saved: Path) -> None:
    path = export(saved, "sql", "m.sql")
    assert "FROM model_input" in path.read_text()
    path.write_text(path.read_text().replace("e0", "e1", 1))
    with pytest.raises(ModelError):
        run("verify", str(path))


def test_a_format_that_is_not_there_is_refused(saved: Path) -> None:
    text = run("export", str(saved), "--format", "tflite", "--to", "x.tflite")
    assert "'tflite' is not one of" in text
    assert isinstance(models_app, typer.Typer)
