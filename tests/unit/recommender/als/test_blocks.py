"""A distributed fit, task by task without Spark: equal to a fit in one task, and its sizes."""

import numpy as np
import pytest
from tests.support.als_oracle import fixed
from tests.support.block_runs import BlockRun

from matchlake.engine.csr import csr_from_pairs
from matchlake.recommender.als.in_memory import fit_rows
from matchlake.recommender.blocks import Layout

SHAPE = (150, 70)


@pytest.fixture(scope="module")
def triples() -> tuple[np.ndarray, ...]:
    """Interactions with one user of half of all, and users and items of one interaction."""
    rng = np.random.default_rng(3)
    users = np.concatenate([np.zeros(300, int), rng.integers(0, 150, 500), np.arange(150)])
    items = np.concatenate([rng.integers(0, 70, 800), np.arange(150) % 70])
    pairs = np.unique(np.column_stack([users, items]), axis=0).astype(np.int32)
    values = rng.integers(1, 6, len(pairs)).astype(np.float32)
    return pairs[:, 0].copy(), pairs[:, 1].copy(), values


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
@pytest.mark.parametrize("blocks", [1, 2, 7, 64])
def test_blocks_fit_what_one_task_fits(
    triples: tuple[np.ndarray, ...], blocks: int, feedback: str
) -> None:
    params = fixed(feedback=feedback, rank=20, iterations=3, threads=1)
    one = fit_rows(csr_from_pairs(*triples, SHAPE), params)
    run = BlockRun(triples, Layout(SHAPE, blocks), params)
    many = run.fit()
    assert np.allclose(one.users, many.users, atol=1e-4)
    assert np.allclose(one.items, many.items, atol=1e-4)
    assert many.loss == pytest.approx(one.loss, rel=1e-5)
