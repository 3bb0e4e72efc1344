"""A user's function gives its head; whatever else it does is an error of its model alone."""

import datetime as dt

import numpy as np
import pytest

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import LinearHead
from matchlake.learners.params import CustomParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

DATA = TrainingData(np.arange(6.0).reshape(3, 2), ("a", "b"), np.array([1.0, 2.0, 6.0]))


def params(name: str, seconds: float = 60) -> CustomParams:
    function = name if ":" in name else f"tests.support.custom_models:{name}"
    return CustomParams(function=function, params={"more": 0.5}, timeout_seconds=seconds)


def test_the_function_gets_data_params_and_seed() -> None:
    head = fit_head(DATA, params("mean_label"), "regression", 7)
    assert isinstance(head, LinearHead)
    assert head.intercepts == (10.5,)


def test_labels_are_those_of_the_rows() -> None:
    label = np.array(["yes", "no", "no"], object)
    data = TrainingData(DATA.matrix, DATA.columns, label, weights=np.ones(3))
    function = "tests.support.custom_models:first_class"
    given = CustomParams(function=function, params={"labels": ["no", "yes"]})
    assert fit_head(data, given, "classification", 1).labels == ("no", "yes")
    strange = given.model_copy(update={"params": {"labels": ["NO", "yes"]}})
    with pytest.raises(InputError, match=r"labels that no row has: NO\. The rows have no, yes"):
        fit_head(data, strange, "classification", 1)


def test_a_parameter_that_is_no_json_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"params\.since: .*JSON"):
        CustomParams(function="a:b", params={"since": dt.date(2024, 1, 1)})


@pytest.mark.parametrize(
    ("name", "seconds", "message"),
    [
        ("raises", 60, "raises failed: RuntimeError: the user's own error"),
        ("hangs", 1, "did not return within 1 seconds"),
    ],
)
def test_other_functions_are_errors(name: str, seconds: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_head(DATA, params(name, seconds), "regression", 0)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaves", "ended with exit code 3 before it returned a head"),
        ("other_columns", "a head for 1 column.s.: z"),
        ("nonsense", "value of type dict; it must return a head"),
        ("other_task", "returned a head for clustering; the task is regression"),
        ("tests.support.custom_models:missing", "AttributeError"),
        ("no.such.module:fit", "ModuleNotFoundError"),
    ],
)
def test_further_functions_are_errors(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_head(DATA, params(name), "regression", 0)
