import numpy as np
import pyarrow as pa
import pytest

from matchlake.errors import InputError, ParameterError
from matchlake.recommender.metrics import RankingParams
from matchlake.recommender.metrics.diversity import _Diversity


def test_lengths_come_once_and_in_order() -> None:
    assert RankingParams(ks=(20, 5, 20)).ks == (5, 20)


@pytest.mark.parametrize("ks", [(), (0,), (-3, 5)])
def test_a_list_has_a_length(ks: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError):
        RankingParams(ks=ks)


def test_diversity_of_a_task() -> None:
    vectors = pa.table(
        {"item_id": ["a", "b", "c"], "vector": [[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]}
    )
    lists = pa.table({"_items": [["a", "b", "c"], ["c", "new", "a"], ["b"], []]})
    found = _Diversity((2, 3)).totals(lists, vectors).to_pydict()
    # a-b and b-c are at right angles (1), a-c are opposite (2); the second list's first two have
    # one vector between them, the third has one item.
    assert found["judged"] == [1, 2]
    assert found["users"] == [4, 4]
    np.testing.assert_allclose(found["total"], [1, (1 + 2 + 1) / 3 + 2])


def test_vectors_have_one_length() -> None:
    vectors = pa.table({"item_id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]})
    with pytest.raises(InputError, match=r"lengths \[1, 2\]"):
        _Diversity((2,)).totals(pa.table({"_items": [["a"]]}), vectors)
