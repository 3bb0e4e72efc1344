"""Kernels that were just compiled, and kernels from the cache on disk, in new processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.soak
def test_fold_in_user_with_new_and_with_cached_code_gives_the_same_bits(
    tmp_path: Path,
) -> None:
    code = (
        "import numpy as np; from matchlake.recommender.als.numpy_model import NumpyFactorModel;"
        "from matchlake.recommender.als.params import AlsParams;"
        "rows = np.random.default_rng(5).normal(size=(20, 5)).astype(np.float32);"
        "ids, one = [f'{n}' for n in range(20)], np.ones(20);"
        "side = np.ascontiguousarray(rows[:, :4]), rows[:, 4].copy();"
        "model = NumpyFactorModel(ids, ids, side[0], side[0], side[1], side[1], 3.0,"
        " AlsParams(feedback='explicit', rank=4), one, one);"
        "some = [{ids[a]: 4.0, ids[a + 1]: 1.0, ids[b]: 2.0} for a in range(8) for b in (9, 19)];"
        "print([model.fold_in_user(one).factors.tobytes().hex() for one in some])"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True
        ).stdout
        for _ in range(2)
    )
    assert first == second
