"""The cost model against the bytes of real tasks, and against Spark's own counters."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyspark
import pytest
from tests.scale.model import Plan
from tests.scale.pairs import Triples, skewed_pairs
from tests.support.als_oracle import fixed
from tests.support.block_runs import BlockRun
from tests.support.programs import shell_environment
from tests.support.sources import ROOT

from matchlake.errors import InputError
from matchlake.recommender.block_sizes import LEAST, TASK_BYTES, FitSize
from matchlake.recommender.blocks import Layout

SHAPE = (3000, 500)


def plan_of(pairs: Triples, shape: tuple[int, int], rank: int, blocks: int) -> Plan:
    users, items = (np.bincount(pairs[side], minlength=shape[side]) for side in (0, 1))
    return Plan((users, items), rank, blocks)


@pytest.mark.parametrize("blocks", [2, 16])
def test_the_model_predicts_the_bytes_of_every_kind(blocks: int) -> None:
    pairs = skewed_pairs(30_000, SHAPE)
    run = BlockRun(pairs, Layout(SHAPE, blocks), fixed(rank=24, iterations=2))
    run.fit()
    predicted = plan_of(pairs, SHAPE, 24, blocks).moved()
    for name, count in run.moved.items():
        assert predicted[name] == pytest.approx(count, rel=0.1), name


def test_sums_grow_with_the_blocks_and_not_with_their_square() -> None:
    degrees = np.full(10_000_000, 2), np.full(100_000, 200)
    plans = [Plan(degrees, 64, blocks) for blocks in (100, 1000)]
    first, second = (plan.moved() for plan in plans)
    assert second["sums"] == pytest.approx(10 * first["sums"])
    assert second["sums"] < 0.01 * sum(second.values())


@pytest.mark.parametrize(
    ("size", "cores", "expected"),
    [
        (FitSize(1000, (50, 20), 64), 64, 2),
        (FitSize(1000, (50, 1), 64), 64, 1),
        (FitSize(20_000_000, (272_000, 54_000), 64), 16, 32),
        (FitSize(50 * LEAST, (272_000, 54_000), 64), 1000, 50),
        (FitSize(1_000_000_000, (10_000_000, 1_000_000), 64), 100, 776),
    ],
)
def test_blocks_follow_cores_work_and_memory(size: FitSize, cores: int, expected: int) -> None:
    blocks = size.blocks(cores, 4 << 30)
    assert blocks == expected
    if expected > 2 * cores:
        assert size.held(blocks) <= TASK_BYTES < size.held(blocks - 1)


def test_a_task_that_would_exceed_its_bound_is_refused_with_numbers() -> None:
    size = FitSize(1_000_000_000, (10_000_000, 1_000_000), 64)
    size.require(800, 4 << 30)
    with pytest.raises(
        InputError,
        match=r"With 8 blocks.* 15046 MiB, more than task_memory_mb=4096. Set blocks to 194 or",
    ):
        size.require(8, 4 << 30)
    few = FitSize(1_000_000_000, (100_000_000, 3), 64)
    with pytest.raises(
        InputError, match="More than 3 blocks, one per row, are not possible: raise"
    ):
        few.require(3, 4 << 30)
    with pytest.raises(InputError, match=r"hold 5120 MiB, more .*Set blocks to 801 or more"):
        size.require(800, 4 << 30, 5 << 30)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("blocks", [8, 64])
def test_spark_counts_what_the_model_predicts(
    tmp_path: Path, blocks: int, tell: Callable[[str], None]
) -> None:
    shape, rank, interactions = (60_000, 12_000), 32, 2_000_000
    predicted = plan_of(skewed_pairs(interactions, shape), shape, rank, blocks).moved()
    numbers = map(str, (interactions, *shape, rank, blocks))
    done = subprocess.run(
        [sys.executable, "-m", "tests.scale.counted", *numbers, str(tmp_path)],
        cwd=ROOT,
        env=shell_environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "lib")])),
        capture_output=True,
        text=True,
        check=False,
    )
    # A local cluster keeps its executors' folders below Spark's own.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    total = sum(predicted.values())
    tell(f"{blocks} blocks: predicted {total / 1e6:.1f} MB an iteration, counted {counted}")
    assert counted["written"] == pytest.approx(total, rel=0.1)
    assert counted["spilled"] == 0
