"""An exported recommender holds its lists, and a changed one is refused."""

import hashlib
import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from tests.support.saved_models import saved
from typer.testing import CliRunner

from matchlake.cli.models import models_app
from matchlake.errors import MatchlakeError, ModelError, ParameterError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.lakehouse.user_erasure import HOLDS_ERASED_USER
from matchlake.model_store.recommender_export import (
    read_recommender,
    verify_recommender,
    with_lists,
    write_recommender,
)
from matchlake.model_store.verified_lists import VerifiedLists


def run(*arguments: str) -> str:
    result = CliRunner().invoke(models_app, list(arguments))
    if isinstance(result.exception, MatchlakeError):
        raise result.exception
    return result.output


def verify(path: Path) -> tuple[VerifiedLists, float]:
    exported = read_recommender(path)
    assert exported is not None
    return verify_recommender(path, exported)


def test_the_command_writes_a_verified_graph(tmp_path: Path) -> None:
    folder, path = saved(tmp_path / "model"), tmp_path / "best.onnx"
    text = run("export", str(folder), "--format", "onnx", "--to", str(path))
    assert "4 lists, largest difference" in text
    figures = json.loads(run("verify", str(path), "--json"))
    assert figures["largest_difference"] <= figures["tolerance"] == 1e-5
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best.onnx", "model"]
    with pytest.raises(ModelError, match=r"no format json. Use --format onnx"):
        run("export", str(folder), "--format", "json", "--to", str(tmp_path / "m.json"))


@pytest.mark.parametrize("users", [["ann", "bob"], [3, 1, 2]])
def test_lists_inside_are_those_of_the_model(tmp_path: Path, users: list[str | int]) -> None:
    partial = write_recommender(saved(tmp_path / "model", users=users), tmp_path / "best.onnx")
    verified, difference = verify(partial)
    assert verified.users[:-1] == tuple(map(str, users))
    assert verified.rows == len(users) + 1
    assert all(len(items) == 5 for items in verified.items)
    assert difference < 1e-6


def test_a_changed_factor_is_refused(tmp_path: Path) -> None:
    partial = write_recommender(saved(tmp_path / "model"), tmp_path / "best.onnx")
    exported = read_recommender(partial)
    assert exported is not None
    content, verified = exported
    graph = onnx.load_model_from_string(content)
    for each in graph.graph.initializer:
        values = numpy_helper.to_array(each).copy()
        if values.dtype == "float32" and values.ndim == 2 and values.shape[0] > 1:
            values[0] += 0.01
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    changed = bytes(graph.SerializeToString(deterministic=True))
    partial.write_bytes(with_lists(changed, verified))
    with pytest.raises(ModelError, match="was changed after its export"):
        verify(partial)
    forged = verified.model_copy(update={"sha256": hashlib.sha256(changed).hexdigest()})
    partial.write_bytes(with_lists(changed, forged))
    with pytest.raises(ModelError, match="A score of user 'ann' differs by"):
        verify(partial)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"best.bin must end in \.onnx"):
        write_recommender(saved(tmp_path / "model"), tmp_path / "best.bin")
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    assert read_recommender(tmp_path / "no.onnx") is None
    with pytest.raises(ModelError, match="is not an ONNX model"):
        run("verify", str(tmp_path / "no.onnx"))


def test_a_version_with_an_erased_user_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged = ModelVersion("recommender", "3", "run", {HOLDS_ERASED_USER: "true"}, ("champion",))
    monkeypatch.setattr(Tracker, "versions", lambda _: [tagged])
    to = str(tmp_path / "best.onnx")
    with pytest.raises(ModelError, match=r"Version 3 of recommender holds an erased user"):
        run("export", "recommender", "--format", "onnx", "--to", to)
