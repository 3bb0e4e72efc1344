"""A head with a framework's folder: scored by its loader, without SQL and ONNX."""

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.support.fitted_features import number_features

from matchlake.errors import ParameterError
from matchlake.formulas.heads import Folder, OpaqueHead
from matchlake.model_store.scoring_model import ScoringModel

COLUMNS = ("a", "b")
LOADER = "tests.support.opaque_models:weights"


def folder(place: Path, weights: Any, loader: str = LOADER) -> Folder:
    place.mkdir(exist_ok=True)
    (place / "weights.json").write_text(json.dumps(weights), encoding="utf-8")
    return Folder.of(place, "python", loader)


def head(place: Path, weights: Any, **more: Any) -> OpaqueHead:
    return OpaqueHead(columns=COLUMNS, folder=folder(place, weights), **more)


def test_the_loader_scores_and_a_missing_feature_has_no_score(tmp_path: Path) -> None:
    made = head(tmp_path, [[1.0, 2.0]])
    found = made.numpy(np.array([[3.0, 4.0], [np.nan, 1.0]]))["prediction"]
    assert found[0] == 11.0
    assert np.isnan(found[1])
    assert made.numpy(np.empty((0, 2)))["prediction"].shape == (0,)
    classes = head(tmp_path, [[1.0, 0.0], [0.0, 1.0]], labels=("x", "y"), link="softmax")
    assert classes.numpy(np.array([[3.0, 4.0]]))["prediction"].tolist() == ["y"]


def test_the_same_files_give_the_same_folder_and_it_survives_json(tmp_path: Path) -> None:
    made = head(tmp_path / "x", [[1.0, 2.0]])
    assert made.folder == folder(tmp_path / "y", [[1.0, 2.0]])
    model = ScoringModel(name="m", task="regression", features=number_features(COLUMNS), head=made)
    back = ScoringModel.from_json(model.to_json())
    assert back == model
    with pytest.raises(ParameterError, match=r"SQL: only .*weights can score it\. Score the table"):
        back.to_sql("t")
    with pytest.raises(ParameterError, match=r"ONNX graph: only .*weights can score it\. Export"):
        back.to_onnx()


def test_a_function_that_is_not_marked_is_not_called(tmp_path: Path) -> None:
    for name in ("shutil:rmtree", "runpy:run_path", "tests.support.opaque_models:missing"):
        made = OpaqueHead(columns=COLUMNS, folder=folder(tmp_path, [], name))
        with pytest.raises(ValueError, match="not marked by loads_models"):
            made.numpy(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": "no base64!"}, "not a ZIP file in base64"),
        ({"content": base64.b64encode(b"nonsense").decode()}, "not a ZIP file in base64"),
        ({"loader": None}, "the flavor python needs a loader"),
        ({"loader": "no function"}, "should match pattern"),
        ({"flavor": "keras"}, "the flavor keras takes no loader"),
        ({"flavor": "pickle"}, "'keras', 'torch' or 'python'"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    given = folder(tmp_path, [[1.0]]).model_dump()
    with pytest.raises(ValidationError, match=message):
        Folder.model_validate(given | change)


def test_files_stay_inside_of_the_folder() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../outside", "x")
        archive.writestr("/absolute", "x")
    content = base64.b64encode(packed.getvalue()).decode()
    made = Folder(flavor="python", loader=LOADER, content=content)
    with made.unpacked() as place:
        names = {each.relative_to(place).as_posix() for each in place.rglob("*")}
        assert names == {"outside", "absolute"}
        assert not (place.parent / "outside").exists()


def test_other_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gives 2 scores instead of 1"):
        head(tmp_path, [[1.0, 2.0], [1.0, 2.0]]).numpy(np.zeros((3, 2)))
