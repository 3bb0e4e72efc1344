"""The model as MLflow serves it: the same numbers as the factors give, and no Spark."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import validate_serving_input
from tests.support.saved_models import ITEMS, USERS, saved, tracker_in

from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.model_store.seen_items import write_seen_items
from matchlake.model_store.spark import load_numpy
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.packed_interactions import Pack

PAIRS = pd.DataFrame({"user_id": [u for u in USERS for _ in ITEMS], "item_id": ITEMS * len(USERS)})


pytestmark = pytest.mark.filterwarnings("ignore:.*validate_serving_input:FutureWarning")


def logged(folder: Path, **ids: Any) -> str:
    """A copy of the model as MLflow stored it."""
    with tracker_in(folder).run("train") as run:
        saved(folder / "model" / FACTORS, **ids)
        uri = run.log_model(pyfunc_flavor(folder / "model"))
    return str(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "copy")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pyfunc")


@pytest.fixture(scope="module")
def uri(folder: Path) -> str:
    return logged(folder)


@pytest.fixture
def model(uri: str) -> Iterator[Any]:
    path, modules = list(sys.path), set(sys.modules)
    yield mlflow.pyfunc.load_model(uri)
    # Loading puts the model's own copy of the package first; later tests want the tree's.
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.split(".")[0] == "matchlake":
            del sys.modules[name]


def expected(folder: Path) -> np.ndarray:
    """Scores of all pairs from the definition, in double precision."""
    m = load_numpy(folder / "model" / FACTORS)
    dots = m.user_factors.astype(float) @ m.item_factors.astype(float).T
    return m.mean + m.user_bias[:, None] + m.item_bias[None, :] + dots


def test_scores_are_those_of_the_factors(model: Any, folder: Path) -> None:
    answer = model.predict(PAIRS)
    assert list(answer.columns) == ["score", "is_cold_start"]
    np.testing.assert_allclose(answer["score"], expected(folder).ravel(), rtol=1e-6)
    assert not answer["is_cold_start"].any()


def test_unknown_ids_get_the_biases_and_are_flagged(model: Any, folder: Path) -> None:
    m = load_numpy(folder / "model" / FACTORS)
    rows = pd.DataFrame({"user_id": ["ann", "zoe", "zoe"], "item_id": ["new", "i1", "new"]})
    answer = model.predict(rows)
    biases = [m.user_bias[0], m.item_bias[1], 0.0]
    np.testing.assert_allclose(answer["score"], m.mean + np.array(biases), rtol=1e-6)
    assert answer["is_cold_start"].all()


def test_an_id_without_ratings_at_training_is_a_cold_start(folder: Path) -> None:
    m = load_numpy(folder / "model" / FACTORS)
    assert isinstance(m, NumpyFactorModel)
    cold = replace(m, user_interactions=np.array([0, 2, 3]), item_interactions=None)
    assert cold.trained_ids == ({"bob", "cid"}, set(ITEMS))


def test_recommends_the_best_items_best_first(model: Any, folder: Path) -> None:
    users = pd.DataFrame({"user_id": USERS[::-1]})
    answer = model.predict(users, params={"mode": "recommend_items", "k": 2})
    scores = expected(folder)[::-1]
    best = np.argsort(-scores, axis=1)[:, :2]
    assert answer["item_id"].tolist() == [[ITEMS[i] for i in row] for row in best]
    np.testing.assert_allclose(
        answer["score"].tolist(), np.take_along_axis(scores, best, axis=1), rtol=1e-6
    )


def test_excluded_items_are_not_recommended(model: Any) -> None:
    users = pd.DataFrame({"user_id": ["ann", "bob"], "exclude_seen": [ITEMS[1:], ["no such item"]]})
    answer = model.predict(users, params={"mode": "recommend_items"})
    assert answer["item_id"][0] == [ITEMS[0]]
    assert sorted(answer["item_id"][1]) == ITEMS


WAYS: dict[str, Any] = {
    "columns of lists": {"user_id": ["ann", "bob"], "item_id": ["i1", "i2"]},
    "columns of arrays": {"user_id": np.array(["ann", "bob"]), "item_id": np.array(["i1", "i2"])},
    "records": [{"user_id": "ann", "item_id": "i1"}, {"user_id": "bob", "item_id": "i2"}],
    # As `spark_udf` passes columns by position: all names of the signature.
    "by position": pd.DataFrame(
        {"user_id": ["ann", "bob"], "item_id": ["i1", "i2"]},
        columns=["user_id", "item_id", "exclude_seen"],
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_send_pairs_gives_the_same_scores(model: Any, way: str) -> None:
    pairs = pd.DataFrame({"user_id": ["ann", "bob"], "item_id": ["i1", "i2"]})
    pd.testing.assert_frame_equal(model.predict(WAYS[way]), model.predict(pairs))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"user_id": ["ann"], "item_id": ["i1"]}},
        {"inputs": [{"user_id": "ann", "item_id": "i1"}]},
        {"instances": [{"user_id": "ann", "item_id": "i1"}]},
        {"dataframe_records": [{"user_id": "ann", "item_id": "i1"}]},
    ],
)
def test_every_body_of_a_request_is_answered(model: Any, uri: str, body: dict[str, Any]) -> None:
    score = model.predict(pd.DataFrame({"user_id": ["ann"], "item_id": ["i1"]}))["score"][0]
    answer = validate_serving_input(uri, json.dumps(body))
    assert answer["score"].tolist() == [score]


def test_a_record_may_leave_out_what_to_exclude(uri: str) -> None:
    records = [{"user_id": "ann", "exclude_seen": ITEMS[1:]}, {"user_id": "zoe"}]
    body = {"dataframe_records": records, "params": {"mode": "recommend_items"}}
    answer = validate_serving_input(uri, json.dumps(body))
    assert answer["item_id"].map(len).tolist() == [1, 5]
    assert answer["is_cold_start"].tolist() == [False, True]


def test_an_integer_becomes_a_string_where_ids_are_strings(uri: str) -> None:
    lists = {"mode": "recommend_items"}
    record = {"user_id": 1, "exclude_seen": [1, "i1"]}
    answer = validate_serving_input(
        uri, json.dumps({"dataframe_records": [record], "params": lists})
    )
    assert answer["is_cold_start"].tolist() == [True]
    assert "i1" not in answer["item_id"][0]


def test_an_id_that_cannot_be_converted_is_refused(model: Any) -> None:
    for row in (
        {"user_id": ["ann"], "exclude_seen": [[1.5]]},
        {"user_id": ["ann"], "exclude_seen": [[True]]},
    ):
        with pytest.raises(
            Exception, match=r"(1.5|True) has the type .*are strings, such as"
        ) as told:
            model.predict(pd.DataFrame(row), params={"mode": "recommend_items"})
        assert type(told.value).__name__ == "MlflowException"


def test_a_null_id_has_null_answers_and_an_unknown_one_is_a_cold_start(uri: str) -> None:
    records = [{"user_id": user, "item_id": "i1"} for user in ("ann", None, "zoe")]
    scored = validate_serving_input(uri, json.dumps({"dataframe_records": records}))
    assert scored["is_cold_start"].tolist() == [False, None, True]
    assert scored["score"].isna().tolist() == [False, True, False]
    body = {"dataframe_records": records, "params": {"mode": "recommend_items", "k": 2}}
    lists = validate_serving_input(uri, json.dumps(body))
    assert lists["is_cold_start"].tolist() == [False, None, True]
    assert [each and len(each) for each in lists["item_id"]] == [2, None, 2]
    assert [each and len(each) for each in lists["score"]] == [2, None, 2]


def test_a_model_that_ranks_recommends_and_leaves_trained_items_out(tmp_path: Path) -> None:
    pairs = pa.table(
        {
            "user_id": ["ann", "ann", "bob", "someone else", "bob"],
            "item_id": ["i4", "i0", "i2", "i1", "not fitted"],
            "value": pa.array([1.0] * 5, pa.float32()),
        }
    )
    with tracker_in(tmp_path).run("train") as run:
        folder = saved(tmp_path / "model" / FACTORS, feedback="implicit")
        packed = pa.Table.from_batches(list(Pack(nonnegative=False)(iter(pairs.to_batches()))))
        write_seen_items(packed["data"], folder)
        uri = run.log_model(pyfunc_flavor(tmp_path / "model"))
    model = mlflow.pyfunc.load_model(uri)
    assert model.metadata.signature.outputs.input_names() == ["item_id", "score", "is_cold_start"]
    assert len(model.predict(model.input_example)) == 1
    users = pd.DataFrame({"user_id": USERS})
    lists = [set(each) for each in model.predict(users)["item_id"]]
    assert lists == [set(ITEMS) - {"i4", "i0"}, set(ITEMS) - {"i2"}, set(ITEMS)]
    every = model.predict(users, params={"exclude_trained": False})
    assert [set(each) for each in every["item_id"]] == [set(ITEMS)] * 3
    assert model.predict(users, params={"k": 1})["item_id"].map(len).tolist() == [1, 1, 1]
    scores = model.predict(users.assign(item_id="i1"), params={"mode": "score"})
    assert list(scores.columns) == ["score", "is_cold_start"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "rank"}, "'score' or 'recommend_items'"),
        ({"mode": "recommend_items", "k": 0}, "k=0 must be 1 or more"),
        ({}, r"in the input: item_id\. Available: user_id"),
    ],
)
def test_a_question_that_cannot_be_answered_is_an_error(
    uri: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlflowException, match=message):
        mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"user_id": ["ann"]}), params=params)


def test_integer_ids_are_in_the_signature(tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(logged(tmp_path, users=[10, 20, 30], items=[1, 2, 3, 4, 5]))
    assert str(model.metadata.get_input_schema().input_dict()["user_id"].type) == "DataType.long"
    answer = model.predict(pd.DataFrame({"user_id": [20, 99], "item_id": [3, 3]}))
    assert answer["is_cold_start"].tolist() == [False, True]


def test_it_has_requirements_and_an_example(uri: str, model: Any) -> None:
    assert model.metadata.signature.outputs.input_names() == ["score", "is_cold_start"]
    assert len(model.predict(model.input_example)) == 1
    needs = (Path(uri) / "requirements.txt").read_text()
    assert {line.split("==")[0] for line in needs.split()} == {
        *("mlflow", "numba", "numpy", "pandas", "pyarrow", "pydantic")
    }


def test_serves_without_spark_and_without_matchlake_installed(uri: str, folder: Path) -> None:
    code = f"""
import os, sys
os.environ["NUMBA_OPT"] = "0"  # Kernels compile in half the time.
sys.path = [p for p in sys.path if not p.endswith("/lib") or "python" in p]
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("pyspark", "py4j", "delta"):
            raise ModuleNotFoundError(name)
        if name == "matchlake" and not any({uri!r} in p for p in sys.path):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import mlflow.pyfunc
model = mlflow.pyfunc.load_model({uri!r})
print(model.predict(model.input_example)["score"][0])
import matchlake
assert matchlake.__file__.startswith({uri!r}), matchlake.__file__
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(expected(folder)[0, 0], rel=1e-6)
