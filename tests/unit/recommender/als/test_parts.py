"""Parameters, random numbers, compressed rows and packed bytes."""

import numpy as np
import pytest
from pydantic import ValidationError

from matchlake.engine.counter_rng import normals
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.engine.packing import PIECE, pack, pieces_of, spread_keys, unpack
from matchlake.recommender.als.params import AlsParams


def test_params_are_built_from_a_mapping_and_survive_json() -> None:
    params = AlsParams.model_validate({"feedback": "explicit", "rank": 8, "threads": 2})
    assert AlsParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"iterations": 0},
        {"alpha": 0},
        {"nu": 2},
        {"ranks": 3},
        {"nonnegative": True, "solver": "cg"},
    ],
)
def test_params_refuse(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AlsParams.model_validate(wrong)


def test_normals_are_normal_and_depend_on_their_place_only() -> None:
    rows = np.arange(20_000)
    numbers = normals(7, 0, rows, 5)
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.std() - 1) < 0.01
    assert abs((np.abs(numbers) > 1.96).mean() - 0.05) < 0.005
    assert np.abs(np.corrcoef(numbers.T) - np.eye(5)).max() < 0.03
    assert np.array_equal(normals(7, 0, rows[::-3], 5), numbers[::-3])
    assert abs(np.corrcoef(normals(8, 0, rows, 1).T, normals(7, 1, rows, 1).T)[0, 1]) < 0.03


def test_compressed_rows_are_sorted_and_turn_over() -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((9, 7)) < 0.4, rng.random((9, 7)), 0).astype(np.float32)
    dense[4] = 0
    rows, columns = (a.astype(np.int32) for a in np.nonzero(dense))
    order = rng.permutation(len(rows))
    csr = csr_from_pairs(rows[order], columns[order], dense[rows, columns][order], (9, 7))
    assert np.array_equal(csr.columns, columns)
    assert np.array_equal(csr.counts(), (dense != 0).sum(axis=1))
    turned = csr.transpose()
    again = np.zeros_like(dense.T)
    again[turned.row_of(np.arange(len(rows))), turned.columns] = turned.values
    assert np.array_equal(again, dense.T)


def test_repeats_are_found_within_rows_only() -> None:
    rows = np.array([0, 0, 1, 1, 1, 3], np.int32)
    columns = np.array([0, 2, 2, 1, 2, 2], np.int32)
    csr = csr_from_pairs(rows, columns, np.ones(6, np.float32), (4, 3))
    assert [(int(csr.row_of(p)), int(csr.columns[p])) for p in csr.repeats()] == [(1, 2)]


@pytest.mark.parametrize("width", [1, 1 << 16, (1 << 16) + 1, (1 << 24) + 9])
@pytest.mark.parametrize("levels", [0, 1, 256, 257, 100_000])
def test_narrowed_rows_come_back_to_the_bit(width: int, levels: int) -> None:
    rng = np.random.default_rng(levels)
    columns = np.sort(rng.integers(0, width, levels)).astype(np.int32)
    columns[-1:] = width - 1
    values = rng.permutation(np.arange(levels) / np.float32(7) - 1).astype(np.float32)
    narrow = Csr(np.array([0, levels]), columns, values, width).narrowed()
    assert ("codes" in narrow, "high" in narrow) == (levels <= 256, width > 1 << 16)
    again = Csr.widened(narrow)
    assert (again.width, again.columns.dtype, again.values.dtype) == (width, np.int32, np.float32)
    assert np.array_equal(again.columns, columns)
    assert np.array_equal(again.values, values)
    assert np.array_equal(again.indptr, [0, levels])


def test_packed_arrays_come_back_writable() -> None:
    arrays = {
        "a": np.arange(5, dtype=np.int32),
        "b": np.zeros((0, 3), np.float32),
        "c": np.arange(PIECE // 4 + 17, dtype=np.float32).reshape(-1, 1),
    }
    pieces = pieces_of(pack(arrays))
    assert len(pieces) == 2
    back = unpack(pieces)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
        assert back[name].flags.writeable
        assert back[name].flags.aligned


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_spread_keys_are_distinct(count: int) -> None:
    assert len(set(spread_keys(count))) == count
