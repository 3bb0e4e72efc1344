"""A loader of models that a user could name, and a function that is none."""

import json
from pathlib import Path

import numpy as np

from matchlake.formulas.heads import loads_models
from matchlake.formulas.heads.folder import Matrix, Scorer


@loads_models
def weights(folder: Path) -> Scorer:
    """A linear model: one list of weights per score."""
    matrix = np.array(json.loads((folder / "weights.json").read_text(encoding="utf-8")))

    def score(rows: Matrix) -> Matrix:
        return np.asarray(rows @ matrix.T)

    return score
