"""Networks of torch and Keras become heads: run where one of them is installed, by `make soak`."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import GraphHead
from matchlake.learners.params import KerasParams, TorchParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

KINDS: dict[str, Any] = {"torch": TorchParams, "keras": KerasParams}
HERE = [kind for kind in KINDS if find_spec(kind)]
COLUMNS = ("a", "b", "c")
FEW: dict[str, Any] = {"hidden": (8,), "epochs": 30, "batch_rows": 64, "learning_rate": 0.02}
pytestmark = [pytest.mark.soak, pytest.mark.frameworks]


def rows(task: str, classes: int = 2) -> TrainingData:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(600, 3)) * [1.0, 100.0, 1e-3] + [0.0, 50.0, 0.0]
    signal = matrix[:, 0] + np.sin((matrix[:, 1] - 50) / 50) + matrix[:, 2] * 500
    if task == "regression":
        return TrainingData(matrix, COLUMNS, 1000 + 50 * signal)
    cuts = np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1])
    return TrainingData(matrix, COLUMNS, np.array(["lo", "mid", "up"])[np.digitize(signal, cuts)])


def own(kind: str) -> str:
    return f"tests.support.custom_networks:{kind}_linear"


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize(("task", "classes"), [("regression", 0), ("classification", 3)])
def test_a_dense_network_learns_and_repeats(kind: str, task: Any, classes: int) -> None:
    data = rows(task, classes)
    head, again = (fit_head(data, KINDS[kind](**FEW), task, 3) for _ in range(2))
    assert isinstance(head, GraphHead)
    assert head.model_dump_json() == again.model_dump_json()
    found = head.numpy(data.matrix)["prediction"]
    assert data.label is not None
    if task == "regression":
        error = np.sqrt(np.mean((found - data.label) ** 2))
        assert error < 0.6 * np.std(data.label)
    else:
        assert np.mean(found == data.label) > 0.85
    first = fit_head(data, KINDS[kind](**FEW | {"epochs": 1}), task, 3)
    worse = first.numpy(data.matrix)["prediction"]
    if task == "regression":
        assert np.mean((worse - data.label) ** 2) > np.mean((found - data.label) ** 2)
    else:
        assert np.mean(worse == data.label) < np.mean(found == data.label)


@pytest.mark.parametrize("kind", HERE)
def test_two_classes_have_one_score(kind: str) -> None:
    data = rows("classification", 2)
    head = fit_head(data, KINDS[kind](**FEW), "classification", 3)
    assert isinstance(head, GraphHead)
    assert (head.link, head.labels) == ("logit", ("lo", "mid"))
    assert np.mean(head.numpy(data.matrix)["prediction"] == data.label) > 0.9


@pytest.mark.parametrize("kind", HERE)
def test_a_function_of_the_user_returns_a_network(kind: str) -> None:
    data = rows("regression")
    params = KINDS[kind](function=own(kind), params={"weight": 2.0})
    head = fit_head(data, params, "regression", 1)
    expected = 2.0 * data.matrix.astype(np.float32).sum(axis=1)
    np.testing.assert_allclose(
        head.numpy(data.matrix)["prediction"], expected, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"function": "tests.support.custom_networks:nonsense"}, "value of type dict"),
        ({"function": "tests.support.custom_networks:{}_wide"}, "gives 2 score.s. per row"),
        ({"learning_rate": 1e30}, "loss of epoch|not finite"),
        ({"device": "cuda"}, "no CUDA device"),
        ({"timeout_seconds": 0.2}, "did not return within 0.2 seconds"),
    ],
)
def test_other_networks_are_refused(kind: str, chosen: dict[str, Any], message: str) -> None:
    chosen = {k: v.format(kind) if isinstance(v, str) else v for k, v in chosen.items()}
    with pytest.raises(InputError, match=message):
        fit_head(rows("regression"), KINDS[kind](**FEW | chosen), "regression", 1)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(HERE)))
def test_a_missing_framework_is_named(kind: str) -> None:
    with pytest.raises(ParameterError, match=f"not installed: {kind}, .*pip install {kind} "):
        fit_head(rows("regression"), KINDS[kind](), "regression", 1)
