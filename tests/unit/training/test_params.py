"""What can be said about a training run, and what cannot."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from matchlake.config import load_config
from matchlake.training.params import TrainParams
from matchlake.training.steps import load_training_params, save_training_params


def test_conf_of_every_environment_is_accepted() -> None:
    for env in ("local", "demo", "dev", "staging", "prod"):
        assert load_config(env).train.metric == "ndcg_at_10"


@pytest.mark.parametrize("metric", ["rmse", "ndcg_at_7", "ndcg", "coverage_at_10"])
def test_a_metric_that_no_run_measures_is_refused_with_those_measured(metric: str) -> None:
    with pytest.raises(ValidationError, match=f"{metric}.*not measured.*ndcg_at_5"):
        TrainParams.model_validate({"metric": metric, "als": {"feedback": "implicit"}})


def test_an_explicit_fit_may_be_evaluated_by_its_errors() -> None:
    params = TrainParams.model_validate({"metric": "rmse", "als": {"feedback": "explicit"}})
    assert params.metric == "rmse"


def test_a_model_has_its_training_params(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    today = load_config("demo").train
    then = load_config("demo", ["train.algorithm=matchbox", "train.weight=rating"]).train
    assert then.features.users
    assert load_training_params(tmp_path, today) == today
    assert "has no valid training parameters" in caplog.text
    save_training_params(tmp_path, then)
    assert load_training_params(tmp_path, today) == then
    (tmp_path / "train.json").write_text('{"algorithm": "another"}')
    assert load_training_params(tmp_path, today) == today


def test_the_job_has_nothing_to_stop_a_fit_early_by() -> None:
    with pytest.raises(ValidationError, match=r"als\.patience needs a validation part"):
        TrainParams.model_validate({"als": {"patience": 3}})
