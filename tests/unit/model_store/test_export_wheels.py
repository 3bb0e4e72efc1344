"""A folder with its wheels installs without an index, and scores the same in a new environment."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import number_features
from tests.support.sources import ROOT

from matchlake.errors import ModelError
from matchlake.formulas.heads import LinearHead
from matchlake.model_store.export_wheels import INSTALL, write_wheels
from matchlake.model_store.exports import finish_export, verify_export, write_export
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.scoring_model import ScoringModel

ROWS = pd.DataFrame({"a": [0.5, 1.5, 1 / 3], "b": [1.0, 2.0, 3.0]})
PROGRAM = """
import json, sys
import pandas as pd
from mlflow import pyfunc
rows = pd.DataFrame(json.loads(sys.argv[2]))
print(json.dumps(pyfunc.load_model(sys.argv[1]).predict(rows)["prediction"].tolist()))
"""


def model() -> ScoringModel:
    head = LinearHead(columns=("a", "b"), weights=((0.1, 1 / 7),), intercepts=(0.3,))
    features = number_features(("a", "b"))
    return ScoringModel(name="m", task="regression", features=features, head=head)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_folder_installs_from_its_wheels_and_scores_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model"
    pip = (str(ROOT / ".uv" / "bin" / "python"), "-m", "pip")
    made = model()
    held_out = HeldOut.of(made.features, ROWS)
    unverified = write_export(made, held_out, "folder", path, add=partial(write_wheels, pip=pip))
    finish_export(unverified, path, verify_export(unverified)[1])
    assert list((path / "wheels").glob("numba-*.whl"))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PATH": os.environ["PATH"]}
    command = [python, "-m", *INSTALL.split(), "--quiet"]
    subprocess.run(command, cwd=path, check=True, env=offline)
    done = subprocess.run(
        [python, "-c", PROGRAM, str(path), json.dumps(ROWS.to_dict("list"))],
        cwd=tmp_path, env=offline, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == made.score_numpy(dict(ROWS.items()))["prediction"].tolist()
    assert np.isfinite(found).all()


def test_a_folder_without_its_wheels_is_not_left(tmp_path: Path) -> None:
    pip = (sys.executable, "-c", "import sys; sys.exit('no such package: numba')")
    made = model()
    with pytest.raises(ModelError, match=r"for requirements\.txt: no such package: numba"):
        write_export(
            *(made, HeldOut.of(made.features, ROWS), "folder", tmp_path / "model"),
            add=partial(write_wheels, pip=pip),
        )
    assert list(tmp_path.iterdir()) == []
