"""Tables of pandas, Polars and Arrow, and sparse matrices: what is fitted, answered and refused."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from matchlake import (
    AlsParams,
    EaseParams,
    NumpyFactorModel,
    RankingParams,
    SplitParams,
    fit_als,
    fit_bias,
    fit_ease,
    fit_matchbox,
    fit_popularity,
    fit_slim,
    ranking_metrics,
    rating_metrics,
    recommend_rated_items,
    split,
)
from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.recommender.progress import Progress

PARAMS = AlsParams(feedback="explicit", rank=3, iterations=2)


def ratings(users: int = 12, items: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    own, other = np.nonzero(rng.random((users, items)) < 0.6)
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in own],
            "item_id": [f"i{n}" for n in other],
            "rating": rng.integers(1, 6, len(own)).astype(float),
        }
    )


TABLE = ratings()


@pytest.fixture(scope="module")
def model() -> NumpyFactorModel:
    return fit_als(TABLE, PARAMS)


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "None": (None, InputError, "cannot be None. Possible are a Spark, pandas or Polars"),
    "a list": ([1, 2], InputError, r"cannot be a list\..*pandas.DataFrame\(rows\)"),
    "a series": (TABLE["rating"], InputError, r"cannot be a pandas\..*Series.*to_frame"),
    "a lazy frame": (pl.LazyFrame(TABLE), InputError, "Compute it first"),
    "an array": (np.eye(3), InputError, "Give its columns names"),
    "no column": (TABLE.drop(columns="rating"), SchemaError, "rating. Available: user_id"),
    "null ids": (TABLE.assign(user_id=None), InputError, r"\(None, 'i0', .*Ids must not be null"),
    "NaN": (TABLE.assign(rating=np.nan), InputError, r"None\).* must be a finite number"),
    "infinite": (TABLE.assign(rating=np.inf), InputError, "must be a finite number"),
    "text": (TABLE.assign(rating="5"), SchemaError, "rating of .* has the type string"),
    "floats": (TABLE.assign(user_id=1.0), SchemaError, "the type double.*use the type Int64"),
    "repeated": (pd.concat([TABLE, TABLE.head(1)]), InputError, r"\('u0', 'i\d'\).*Keep one row"),
    "empty": (TABLE.head(0), InputError, "the frame is empty"),
    "an empty matrix": (csr_matrix((3, 4)), InputError, "the frame is empty"),
    "mixed": (TABLE.assign(user_id=[1, *["u"] * (len(TABLE) - 1)]), SchemaError, "one type"),
    "equal": (TABLE.assign(rating=3.0), InputError, "nothing can be learned"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_fitted_is_refused_in_words(name: str) -> None:
    data, error, message = BAD[name]
    with pytest.raises(error, match=message):
        fit_als(data, PARAMS)


@pytest.mark.parametrize(
    "fit", [fit_als, fit_ease, fit_slim, fit_bias, fit_popularity, fit_matchbox]
)
def test_every_fit_refuses_a_list_and_no_rows(fit: Callable[..., Any]) -> None:
    for data in ([], TABLE.head(0).assign(weight=1.0)):
        with pytest.raises(InputError, match=r"cannot be a list|empty|no rating"):
            fit(data)


def test_a_matrix_has_no_times() -> None:
    params = PARAMS.model_copy(update={"duplicates": "last"})
    with pytest.raises(InputError, match=r"one value per pair.*event_time"):
        fit_als(csr_matrix(np.ones((2, 2))), params)


@pytest.mark.parametrize(("duplicates", "value"), [("last", 4.0), ("sum", 9.0), ("mean", 3.0)])
def test_repeated_rows_become_one(duplicates: str, value: float) -> None:
    times = pd.to_datetime(["2026-03-01", "2026-01-01", "2026-03-01", None])
    again = pd.DataFrame({"user_id": "u0", "item_id": "new", "rating": [2.0, 3.0, 4.0, np.nan]})
    rows = pd.concat([TABLE.assign(event_time=pd.NaT), again.assign(event_time=times)])
    params = AlsParams.model_validate(PARAMS.model_dump() | {"duplicates": duplicates})
    once = pd.concat([TABLE, again.head(1).assign(rating=value)])
    found, expected = fit_als(rows, params), fit_als(once, PARAMS)
    np.testing.assert_array_equal(found.item_factors, expected.item_factors)


def test_a_fit_continues_stops_early_and_reports() -> None:
    seen: list[Progress] = []
    params = PARAMS.model_copy(update={"iterations": 4, "patience": 1, "checkpoint_interval": 1})
    test = TABLE.sample(frac=0.3, random_state=1)
    fit_als(TABLE, params, validation=test, callback=seen.append)
    assert [each.iteration for each in seen] == list(range(1, len(seen) + 1))
    assert all(each.metric is not None for each in seen)
    whole = fit_als(TABLE, PARAMS)
    half = PARAMS.model_copy(update={"iterations": 1})
    again = fit_als(TABLE, half, initial_model=fit_als(TABLE, half))
    np.testing.assert_array_equal(again.user_factors, whole.user_factors)
    with pytest.raises(ParameterError, match="patience=1"):
        fit_als(TABLE, params)
    with pytest.raises(ParameterError, match="rank 3, but params have rank=5"):
        fit_als(TABLE, AlsParams(feedback="explicit", rank=5), initial_model=whole)
    implicit = AlsParams(rank=3, iterations=2, checkpoint_interval=1, patience=1)
    weighted = TABLE.assign(weight=1.0)
    fit_als(weighted, implicit, validation=test, callback=seen.append)
    assert seen[-1].metric is not None
    assert 0 <= seen[-1].metric <= 1


def test_lists_of_a_table_are_those_of_its_users(model: NumpyFactorModel) -> None:
    users = ["u3", None, "nobody", "u3", "u1"]
    frame = pd.DataFrame({"user_id": users, "other": 1})
    found = model.recommend_items(frame, 3, exclude_seen=TABLE)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == ["user_id", "rank", "item_id", "score", "is_cold_start"]
    assert list(dict.fromkeys(found["user_id"])) == ["u3", "nobody", "u1"]
    for user, rows in found.groupby("user_id"):
        seen = TABLE.loc[TABLE["user_id"] == user, "item_id"]
        alone = model.recommend_items(user, 3, exclude_seen=seen)
        assert rows["item_id"].tolist() == [item for item, _ in alone]
        assert rows["score"].tolist() == [score for _, score in alone]
        assert rows["rank"].tolist() == list(range(1, len(alone) + 1))
        assert set(rows["is_cold_start"]) == {user == "nobody"}
    polars = model.recommend_items(pl.DataFrame({"user_id": users}), 3, exclude_seen=TABLE)
    assert isinstance(polars, pl.DataFrame)
    assert polars["item_id"].to_list() == found["item_id"].tolist()
    everyone = model.recommend_users(None, 2)
    assert everyone.num_rows == 2 * len(model.item_ids)


def test_candidates_may_be_shared_or_each_users_own(model: NumpyFactorModel) -> None:
    users = pd.DataFrame({"user_id": ["u1", "u2"]})
    shared = model.recommend_items(
        users, 9, candidates=pd.DataFrame({"item_id": ["i1", "i5", "x"]})
    )
    assert shared.groupby("user_id")["item_id"].agg(set).tolist() == [{"i1", "i5"}] * 2
    own = pd.DataFrame({"user_id": ["u1", "u1", "u2"], "item_id": ["i1", "i2", "i3"]})
    seen = own.head(1)
    found = model.recommend_items(users, 9, candidates=own, exclude_seen=seen)
    assert list(zip(found["user_id"], found["item_id"], strict=True)) == [
        ("u1", "i2"),
        ("u2", "i3"),
    ]


def test_the_items_of_a_test_part_are_ranked(model: NumpyFactorModel) -> None:
    rated = pd.DataFrame({"user_id": ["u1", "u1", "u1", "u2"], "item_id": ["i1", "i1", "i3", "i4"]})
    lists, skipped = recommend_rated_items(model, rated)
    assert lists["user_id"].tolist() == ["u1", "u1"]
    assert set(lists["item_id"]) == {"i1", "i3"}
    assert skipped.to_numpy().tolist() == [["u2", 1]]


def test_scores_of_a_table_tell_null_from_unknown(model: NumpyFactorModel) -> None:
    pairs = pa.table(
        {"user_id": ["u1", None, "who"], "item_id": ["i1", "i1", "i1"], "n": [1, 2, 3]}
    )
    found = model.score(pairs)
    assert found.column_names == ["user_id", "item_id", "n", "score", "is_cold_start"]
    assert found["is_cold_start"].to_pylist() == [False, None, True]
    scores = found["score"].to_pylist()
    assert scores[1] is None
    np.testing.assert_array_equal(model.score(["u1", None], ["i1", "i1"]), [scores[0], np.nan])
    metrics = rating_metrics(found.append_column("rating", pa.array([4.0, 4.0, 4.0])))
    assert metrics["n_samples"].to_pylist() == [2, 2]
    assert metrics["n_skipped"].to_pylist() == [1, 1]


NUMBERS = TABLE.assign(
    user_id=TABLE["user_id"].str[1:].astype(int), item_id=TABLE["item_id"].str[1:].astype(int)
)


@pytest.fixture(scope="module")
def by_number() -> NumpyFactorModel:
    return fit_als(NUMBERS, PARAMS)


def test_ids_of_another_type_are_converted_where_that_is_exact(by_number: NumpyFactorModel) -> None:
    texts = fit_als(NUMBERS.astype({"user_id": str, "item_id": str}), PARAMS)
    wanted = by_number.recommend_items(3, 2)
    for user in ("3", 3.0, np.int32(3), np.float64(3)):
        assert by_number.recommend_items(user, 2) == wanted
    assert texts.recommend_items(3, 2) == texts.recommend_items("3", 2)
    assert texts.recommend_items(3, 9, exclude_seen=[1]) == texts.recommend_items(
        "3", 9, exclude_seen=["1"]
    )
    assert by_number.similar_items("3", 2) == by_number.similar_items(3, 2)
    frame = pd.DataFrame({"user_id": [3.0, None]})
    assert by_number.recommend_items(frame, 2)["item_id"].tolist() == [item for item, _ in wanted]
    assert texts.fold_in(users={99: {1: 5.0}}).recommend_items("99", 1)


@pytest.mark.parametrize("user", ["x", "03", " 3", True, 1.5, b"3", "٣"])
def test_other_ids_are_refused(by_number: NumpyFactorModel, user: Any) -> None:
    with pytest.raises(SchemaError, match="are integers, such as 0, and it cannot be converted"):
        by_number.recommend_items(user, 2)
    with pytest.raises(SchemaError, match="cannot be converted exactly"):
        by_number.recommend_items(3, 2, exclude_seen=[user])


@pytest.mark.parametrize("user", [[1], np.array([1]), {"a": 1}, float("nan"), pd.NA])
def test_one_query_is_one_id(by_number: NumpyFactorModel, user: Any) -> None:
    with pytest.raises(InputError, match=r"user is (null|a .*pass one id)"):
        by_number.recommend_items(user, 2)


def test_arguments_of_other_types_are_refused_in_words(by_number: NumpyFactorModel) -> None:
    for k in (0, "a", 1.5, True, None):
        with pytest.raises(ParameterError, match=f"k={k} must be 1 or more"):
            by_number.recommend_items(1, k)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="user_ids is of type int: pass a list"):
        by_number.score(1, [2])
    with pytest.raises(InputError, match="There are 2 user_ids but 1 item_ids"):
        by_number.score([1, 2], [1])
    with pytest.raises(InputError, match="the pairs cannot be None"):
        by_number.score(None)
    for name in ("exclude_seen", "candidates"):
        with pytest.raises(InputError, match=f"{name} is of type str: pass a list of ids"):
            by_number.recommend_items(1, 2, **{name: "5"})


def test_categories_are_read_as_their_texts() -> None:
    whole = fit_als(TABLE, PARAMS)
    for rows in (
        TABLE.astype({"user_id": "category", "item_id": "string"}),
        pl.from_pandas(TABLE).with_columns(pl.col("user_id").cast(pl.Categorical)),
    ):
        np.testing.assert_array_equal(fit_als(rows, PARAMS).user_factors, whole.user_factors)


def test_ease_and_popularity_answer_tables_too() -> None:
    users = pd.DataFrame({"user_id": ["u1", "nobody"]})
    for model in (fit_ease(TABLE, EaseParams(regularization=1.0)), fit_popularity(TABLE)):
        found = model.recommend_items(users, 2, exclude_seen=TABLE)
        rows = found[found["user_id"] == "nobody"]
        assert rows["item_id"].tolist() == [i for i, _ in model.recommend_items("nobody", 2)]
        assert rows["is_cold_start"].all()
        assert not model.recommend_items(users.head(0), 2).size


@pytest.mark.parametrize("kind", ["random", "cold_users", "recommender"])
def test_parts_are_of_the_kind_that_was_given(kind: str) -> None:
    params = SplitParams.model_validate({"kind": kind})
    frame = split(TABLE.set_index(np.arange(len(TABLE)) + 7), params)
    assert set(frame[0].index) | set(frame[1].index) == set(range(7, 7 + len(TABLE)))
    for rows in (pl.from_pandas(TABLE), pa.Table.from_pandas(TABLE)):
        train, test = split(rows, params)
        assert type(train) is type(rows)
        assert (len(train), len(test)) == (len(frame[0]), len(frame[1]))
    matrix = csr_matrix(np.arange(1, 201.0).reshape(20, 10))
    train, test = split(matrix, params)
    assert (train + test != matrix).nnz == 0
    assert train.nnz
    assert test.nnz


def test_metrics_of_a_table_have_known_values() -> None:
    lists = pd.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [7, 8, 9, 7], "rank": [1, 2, 3, 1]})
    truth = pl.DataFrame({"user_id": [1, 1, 2, 3], "item_id": [8, 5, 6, 7]})
    found = ranking_metrics(lists, truth, RankingParams(ks=(2,)))
    values = dict(zip(found["metric"], found["value"], strict=True))
    assert values["precision"] == pytest.approx((1 / 2) / 3)
    assert values["recall"] == pytest.approx((1 / 2) / 3)
    assert values["mrr"] == pytest.approx((1 / 2) / 3)
    gain = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert values["ndcg"] == pytest.approx(gain / 3)
    with pytest.raises(SchemaError, match="item_id has different types"):
        ranking_metrics(lists, truth.with_columns(pl.col("item_id").cast(str)))


def test_nothing_of_this_loads_spark() -> None:
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "import pandas as pd, matchlake as m\n"
        "rows = pd.DataFrame({'user_id': [1, 1, 2, 3], 'item_id': [1, 2, 1, 2],"
        " 'rating': [1., 2., 3., 4.]})\n"
        "parts = m.split(rows, m.SplitParams(test_fraction=0.4, seed=1))\n"
        "model = m.fit_als(rows, m.AlsParams(feedback='explicit', rank=2, iterations=1))\n"
        "for fit in (m.fit_ease, m.fit_bias, m.fit_popularity): lists = fit(rows)"
        ".recommend_items(rows, 1)\n"
        "m.rating_metrics(model.score(rows)), m.ranking_metrics(lists, rows)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
