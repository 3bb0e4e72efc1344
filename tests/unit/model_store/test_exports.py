"""Exports carry what they were verified with, and a changed one is refused."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from tests.support.scoring_cases import as_columns, hostile_rows, random_model

from matchlake.errors import ModelError, ParameterError
from matchlake.formulas.heads import GraphHead
from matchlake.model_store.exports import (
    KEY,
    Format,
    discard,
    finish_export,
    verify_export,
    write_export,
)
from matchlake.model_store.held_out import MOST_ROWS, HeldOut
from matchlake.model_store.scoring_folder import (
    load_held_out,
    load_scoring_model,
    save_scoring_model,
)
from matchlake.model_store.scoring_model import ScoringModel

COLUMNS = as_columns(hostile_rows(300))
SUFFIX = {"onnx": ".onnx", "json": ".json", "pickle": ".pkl"}


def model(seed: int = 0, kind: str = "linear") -> ScoringModel:
    return random_model(kind, COLUMNS, np.random.default_rng(seed))[0]


def exported(folder: Path, kind: Format, seed: int = 0, of: str = "linear") -> Path:
    made = model(seed, of)
    save_scoring_model(made, folder / "saved", pd.DataFrame(COLUMNS))
    path = folder / f"model{SUFFIX[kind]}"
    loaded, rows = load_scoring_model(folder / "saved"), load_held_out(folder / "saved")
    partial = write_export(loaded, rows, kind, path)
    verified, difference = verify_export(partial)
    assert verified.largest_difference is None
    finish_export(partial, path, difference)
    assert not partial.exists()
    return path


@pytest.mark.parametrize("kind", SUFFIX)
@pytest.mark.parametrize("of", ["linear", "trees", "centroids"])
def test_an_export_verifies_later_and_holds_the_figure(
    tmp_path: Path, kind: Format, of: str
) -> None:
    for seed in range(4):
        verified, difference = verify_export(exported(tmp_path / str(seed), kind, seed, of))
        assert verified.rows > 50
        assert verified.largest_difference == difference <= 1e-14
    assert "id" not in verified.inputs


def _network(width: int) -> str:
    """`x W` with two scores, in 32 bits."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(size=(width, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", float32, ["rows", width])],
        [helper.make_tensor_value_info("y", float32, ["rows", 2])],
        [onnx.numpy_helper.from_array(weights, "W")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return base64.b64encode(model.SerializeToString()).decode()


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_network_is_exported_within_its_own_tolerance(tmp_path: Path, kind: Format) -> None:
    features = model(4).features
    names = tuple(output.name for output in features.outputs())
    head = GraphHead(
        columns=names, labels=("no", "yes"), link="softmax", graph=_network(len(names))
    )
    made = ScoringModel(name="net", task="classification", features=features, head=head)
    rows = HeldOut.of(features, pd.DataFrame(COLUMNS))
    path = tmp_path / f"m{SUFFIX[kind]}"
    partial = write_export(made, rows, kind, path)
    verified, difference = verify_export(partial)
    assert verified.tolerance == 1e-6 >= difference
    with pytest.raises(ParameterError, match=r"it is a network\. Export it as ONNX"):
        made.to_sql("t")


def test_held_out_rows_are_few_finite_and_without_keys() -> None:
    made = model(2)
    rows = HeldOut.of(made.features, pd.DataFrame(COLUMNS))
    assert set(rows.columns) == {fitted.column for fitted in made.features.features}
    assert len(next(iter(rows.columns.values()))) <= MOST_ROWS
    back = HeldOut.from_json(rows.model_dump_json())
    typed = back.typed(made.features)
    again = HeldOut.of(made.features, pd.DataFrame(typed))
    assert again == rows


def test_a_changed_weight_of_an_onnx_model_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path, "onnx")
    graph = onnx.load_model(path)
    weights = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] = (
        values.flat[0] + 1 if values.dtype == np.int64 else values.flat[0] * (1 + 1e-15)
    )
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save_model(graph, path)
    with pytest.raises(ModelError, match="was changed after its export"):
        verify_export(path)


def test_a_changed_weight_is_refused_by_its_scores_alone(tmp_path: Path) -> None:
    """Also if whoever changed it made a new digest."""
    path = exported(tmp_path, "json")
    data = json.loads(path.read_text())
    data["head"]["weights"][0] = [each + 1e-9 for each in data["head"]["weights"][0]]
    verified = data.pop("verified")
    bare = ScoringModel.from_json(json.dumps(data))
    import hashlib  # noqa: PLC0415

    verified["sha256"] = hashlib.sha256(bare.to_json().encode()).hexdigest()
    path.write_text(json.dumps(data | {"verified": verified}))
    with pytest.raises(ModelError, match=r"differ by .* from the model's|has prediction"):
        verify_export(path)


def _without_comparison(path: Path) -> None:
    graph = onnx.load_model(path)
    del graph.metadata_props[:]
    onnx.save_model(graph, path)


def _damaged_comparison(path: Path) -> None:
    graph = onnx.load_model(path)
    onnx.helper.set_model_props(graph, {KEY: "{}"})
    onnx.save_model(graph, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_comparison, "has no comparison"),
        (_damaged_comparison, "is damaged"),
        (lambda path: path.write_bytes(b"no model"), "is not an ONNX model|has no comparison"),
        (lambda path: path.write_bytes(b""), "is not an ONNX model|has no comparison"),
        (lambda path: path.unlink(), "does not exist"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = exported(tmp_path, "onnx")
    change(path)
    with pytest.raises(ModelError, match=message):
        verify_export(path)


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    with pytest.raises(ModelError, match=r"must be a folder, or a file that ends in \.onnx"):
        verify_export(tmp_path / "model.bin")
    with pytest.raises(ModelError, match=r"has no valid verified\.json"):
        verify_export(tmp_path)


class _Foreign:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def test_a_foreign_pickle_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(_Foreign()))
    with pytest.raises(ModelError, match=r"builtins.print is not part of a model"):
        verify_export(path)
    assert capsys.readouterr().out == ""


def test_an_unverified_export_is_discarded(tmp_path: Path) -> None:
    made = model()
    rows = HeldOut.of(made.features, pd.DataFrame(COLUMNS))
    partial = write_export(made, rows, "json", tmp_path / "m.json")
    discard(partial)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("m.txt", r"must end in \.json"), ("no/m.json", "does not exist")]
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, name: str, message: str) -> None:
    made = model()
    rows = HeldOut.of(made.features, pd.DataFrame(COLUMNS))
    with pytest.raises(ParameterError, match=message):
        write_export(made, rows, "json", tmp_path / name)


def test_a_model_without_held_out_rows_is_not_exported(tmp_path: Path) -> None:
    made = model()
    rows = HeldOut.of(made.features, pd.DataFrame(COLUMNS)[:0])
    with pytest.raises(ModelError, match="no held-out rows"):
        write_export(made, rows, "json", tmp_path / "m.json")
