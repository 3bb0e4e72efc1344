"""An export scores where nothing of this product is: with onnxruntime alone, and in Node."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.support.served import export_recommender, export_scoring, scoring_model
from tests.support.sources import ROOT

from matchlake.model_store.verified import Verified, largest_difference

ALONE = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = json.loads(session.get_modelmeta().custom_metadata_map["matchlake.verified"])["inputs"]
texts = {each.name for each in session.get_inputs() if each.type == "tensor(string)"}
inputs = {n: np.array(v, object if n in texts else float) for n, v in rows.items()}
names = [each.name for each in session.get_outputs()]
found = dict(zip(names, session.run(names, inputs)))
assert not [name for name in sys.modules if name.startswith("matchlake")]
json.dump({name: values.tolist() for name, values in found.items()}, sys.stdout)
"""
LISTS = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
inputs = {"user_id": np.array(["ann"], object), "exclude": np.array([], object)}
items, scores = session.run(["item_id", "score"], inputs | {"k": np.array([3], np.int64)})
print(*items)
"""


def verified(path: Path) -> Verified:
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return Verified.model_validate_json(metadata["matchlake.verified"])


def plain(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """As Verified has them: null for NaN and for the text of a missing label."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(each) for each in value]
        return None if value == "\1" or value != value or value in _INFINITE else value  # noqa: PLR0124

    return {n: [one(each) for each in v] for n, v in found.items() if n != "refused"}


_INFINITE = (float("inf"), float("-inf"))


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_onnxruntime_alone_scores_an_export(tmp_path: Path, kind: str) -> None:
    path = export_scoring(tmp_path / "m.onnx", scoring_model(1, kind))
    command = [sys.executable, "-I", "-c", ALONE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    want = verified(path)
    assert largest_difference(plain(json.loads(done.stdout)), want) <= want.tolerance


def test_onnxruntime_alone_lists_items(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best.onnx")
    command = [sys.executable, "-I", "-c", LISTS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    lists = json.loads(metadata["matchlake.recommender"])
    assert done.stdout.split() == lists["items"][lists["users"].index("ann")][:3]


@pytest.mark.soak
def test_webassembly_in_node_scores_an_export(tmp_path: Path) -> None:
    assert shutil.which("npm"), "install Node to run this test"
    shutil.copy(ROOT / "tests" / "support" / "edge" / "score.mjs", tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund", "onnxruntime-web@1.30.0"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    for kind in ("linear", "trees", "centroids"):
        path = export_scoring(tmp_path / f"{kind}.onnx", scoring_model(1, kind))
        want, session = verified(path), onnxruntime.InferenceSession(path)
        feeds = {
            each.name: feed(want.inputs[each.name], each.type) for each in session.get_inputs()
        }
        (tmp_path / "rows.json").write_text(json.dumps(feeds))
        command = ["node", "score.mjs", str(path), "rows.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        found = {n: shaped(v, len(want.expected[n])) for n, v in json.loads(done.stdout).items()}
        assert largest_difference(plain(found), want) <= want.tolerance


def feed(values: tuple[Any, ...], kind: str) -> dict[str, Any]:
    shape = [len(values), *([len(values[0])] if isinstance(values[0], list | tuple) else [])]
    flat = [each for row in values for each in row] if len(shape) > 1 else list(values)
    return {"kind": "string" if "string" in kind else "float64", "shape": shape, "data": flat}


def shaped(values: list[Any], rows: int) -> list[Any]:
    """A flat list as rows; NaN came as null."""
    whole = [float("nan") if each is None else each for each in values]
    if len(whole) == rows:
        return whole
    width = len(whole) // rows
    return [whole[row * width : (row + 1) * width] for row in range(rows)]
