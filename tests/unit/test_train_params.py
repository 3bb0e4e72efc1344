"""What can be said about a training run, and what cannot."""

import pytest
from pydantic import ValidationError

from matchlake.config import load_config
from matchlake.models.params import TrainParams


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


def test_the_job_has_nothing_to_stop_a_fit_early_by() -> None:
    with pytest.raises(ValidationError, match="patience needs a part that is held out"):
        TrainParams.model_validate({"als": {"patience": 3}})
