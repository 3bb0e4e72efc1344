"""Scripts in R: their heads score as R does; scripts that fail are errors with the reason."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.sources import ROOT

from matchlake.errors import InputError, ParameterError
from matchlake.learners.params import RParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

COLUMNS = ("a b", "c", "d")
HAS_R = shutil.which("Rscript") is not None
SCRIPTS = ROOT / "tests" / "support" / "r"


def rows(count: int, family: str) -> TrainingData:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(count, 3)) * [1.0, 100.0, 1e-3]
    signal = matrix[:, 0] + matrix[:, 1] / 100 + matrix[:, 2] * 500
    noise = random.normal(size=count)
    label = signal + noise
    if family == "binomial":
        label = np.where(signal + noise > 0, "y", "n")
    if family == "poisson":
        label = random.poisson(np.exp(signal / 4)).astype(float)
    return TrainingData(matrix, COLUMNS, label)


@pytest.mark.soak
@pytest.mark.parametrize("family", ["gaussian", "poisson", "binomial"] if HAS_R else ())
def test_a_head_of_glm_scores_as_r_does(tmp_path: Path, family: str) -> None:
    data = rows(10_000, family)
    params = {"family": family, "expected": str(tmp_path / "expected")}
    script = RParams(script=str(SCRIPTS / "train_glm.R"), params=params)
    task: Any = "classification" if family == "binomial" else "regression"
    head = fit_head(data, script, task, 1)
    assert head == fit_head(data, script, task, 1)
    expected = np.loadtxt(tmp_path / "expected")
    found = head.numpy(data.matrix)
    values = found["probabilities"][:, 1] if family == "binomial" else found["prediction"]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.soak
@pytest.mark.parametrize("trees", [20] if HAS_R else ())
def test_a_head_of_a_random_forest_scores_as_r_does(tmp_path: Path, trees: int) -> None:
    data = rows(10_000, "gaussian")
    params = {"trees": trees, "expected": str(tmp_path / "expected")}
    head = fit_head(
        data, RParams(script=str(SCRIPTS / "train_forest.R"), params=params), "regression", 1
    )
    expected = np.loadtxt(tmp_path / "expected")
    found = head.numpy(data.matrix)["prediction"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


TWO_WEIGHTS = {"kind": "linear", "weights": [[1, 2]], "intercepts": [0]}
STAND_IN = """#!{python}
import json, sys, time
from pathlib import Path
script, folder = sys.argv[-2:]
folder = Path(folder)
{body}
"""


def stand_in(folder: Path, body: str) -> RParams:
    """A program in the place of Rscript."""
    program, script = folder / "Rscript", folder / "train.R"
    program.write_text(STAND_IN.format(python=sys.executable, body=body), encoding="utf-8")
    program.chmod(0o755)
    script.touch()
    return RParams(script=str(script), program=str(program), timeout_seconds=20)


def test_rows_and_request_are_files_and_the_head_is_read(tmp_path: Path) -> None:
    body = (
        "kept = Path(script).parent\n"
        "for name in ('rows.csv', 'request.json'):\n"
        "    (kept / name).write_text((folder / name).read_text())\n"
        "head = {'kind': 'linear', 'weights': [[1, 2, 3]], 'intercepts': [0.5]}\n"
        "(folder / 'head.json').write_text(json.dumps(head))"
    )
    matrix = np.array([[0.1, np.nan, 1e300], [1 / 3, 2.0, -1e-300]])
    data = TrainingData(matrix, COLUMNS, np.array([1.0, 2.5]))
    head = fit_head(data, stand_in(tmp_path, body), "regression", 7)
    assert head.columns == COLUMNS
    assert head.numpy(np.ones((1, 3)))["prediction"][0] == 6.5
    assert (tmp_path / "rows.csv").read_text().splitlines() == [
        "x1,x2,x3,label",
        "0.1,NA,1e+300,1.0",
        "0.3333333333333333,2.0,-1e-300,2.5",
    ]
    assert '"seed": 7' in (tmp_path / "request.json").read_text()


def test_classes_are_named_in_the_request_and_none_is_missing_in_r(tmp_path: Path) -> None:
    body = (
        "labels = json.loads((folder / 'request.json').read_text())['labels']\n"
        "head = {'kind': 'linear', 'link': 'logit', 'labels': labels, 'weights': [[1, 2, 3]],"
        " 'intercepts': [0]}\n"
        "(folder / 'head.json').write_text(json.dumps(head))"
    )
    data = TrainingData(np.eye(3), COLUMNS, np.array([True, False, True]))
    script = stand_in(tmp_path, body)
    assert fit_head(data, script, "classification", 1).labels == ("false", "true")
    countries = TrainingData(np.eye(3), COLUMNS, np.array(["NA", "DE", "DE"], object))
    with pytest.raises(InputError, match='reads the label "NA" as missing'):
        fit_head(countries, script, "classification", 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no such package')", "failed with exit code 1: no such package"),
        ("time.sleep(60)", "did not end within 0.5 seconds"),
        ("pass", "without writing head.json"),
        ("(folder / 'head.json').write_text('{')", "not valid: Expecting property name"),
        ("(folder / 'head.json').write_text('[]')", "a head that is not valid"),
        ("(folder / 'head.json').write_text('[' * 100000)", "a head that is not valid"),
        (f"(folder / 'head.json').write_text(json.dumps({TWO_WEIGHTS}))", "needs 3 weights"),
    ],
)  # fmt: skip
def test_scripts_that_fail_are_errors(tmp_path: Path, body: str, message: str) -> None:
    params = stand_in(tmp_path, body)
    if "sleep" in body:
        params = params.model_copy(update={"timeout_seconds": 0.5})
    with pytest.raises(InputError, match=message):
        fit_head(rows(20, "gaussian"), params, "regression", 1)


def test_a_missing_program_and_a_missing_script_are_named(tmp_path: Path) -> None:
    data = rows(20, "gaussian")
    with pytest.raises(ParameterError, match="needs no-such-R, which is not installed"):
        fit_head(data, RParams(script="x.R", program="no-such-R"), "regression", 1)
    params = stand_in(tmp_path, "pass").model_copy(update={"script": "missing.R"})
    with pytest.raises(ParameterError, match=r"script is missing\.R, but this file does not exist"):
        fit_head(data, params, "regression", 1)
