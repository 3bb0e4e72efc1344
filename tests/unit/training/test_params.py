"""What can be said about a training run, and what cannot."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from matchlake.config import load_config
from matchlake.training.params import TrainParams
from matchlake.training.steps import note_training, trained_with


def test_conf_of_every_environment_is_accepted() -> None:
    for env in ("local", "dev", "staging", "prod"):
        assert load_config(env).train.metric == "ndcg_at_10"


@pytest.mark.parametrize("metric", ["rmse", "ndcg_at_7", "ndcg", "coverage_at_10"])
def test_a_metric_that_no_run_measures_is_refused_with_those_measured(metric: str) -> None:
    with pytest.raises(ValidationError, match=f"{metric}.*not measured.*ndcg_at_5"):
        TrainParams.model_validate({"metric": metric, "als": {"feedback": "implicit"}})


def test_an_explicit_fit_may_be_judged_by_its_errors() -> None:
    params = TrainParams.model_validate({"metric": "rmse", "als": {"feedback": "explicit"}})
    assert params.metric == "rmse"


def test_a_model_says_what_it_was_trained_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    today = load_config("local").train
    then = load_config("local", ["train.algorithm=matchbox", "train.strength=rating"]).train
    assert then.features.users
    assert trained_with(tmp_path, today) == today
    assert "does not say what it was trained with" in caplog.text
    note_training(tmp_path, then)
    assert trained_with(tmp_path, today) == then
    (tmp_path / "train.json").write_text('{"algorithm": "another"}')
    assert trained_with(tmp_path, today) == today


def test_the_job_has_nothing_to_stop_a_fit_early_by() -> None:
    with pytest.raises(ValidationError, match="patience needs a part that is held out"):
        TrainParams.model_validate({"als": {"patience": 3}})
