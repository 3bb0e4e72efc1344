"""The pictures of a run: what they say, and which comes first."""

from datetime import UTC, datetime

from matchlake.training.descriptions import describe_run, describe_version, run_name
from matchlake.training.params import TrainParams
from matchlake.training.plots import (
    comparison,
    ranking_curves,
    rating_bars,
    reliability,
    training_plots,
)

FIGURES = {
    "popularity": {"ndcg_at_5": 0.1, "ndcg_at_10": 0.2, "recall_at_5": 0.1, "recall_at_10": 0.3},
    "bias": {"rmse": 0.94, "mae": 0.7, "ndcg_at_5": 0.1, "ndcg_at_10": 0.1},
    "matchbox": {
        "rmse": 0.87,
        "mae": 0.6,
        "log_likelihood": -1.3,
        "interval_coverage_90": 0.88,
        "ndcg_at_5": 0.2,
        "ndcg_at_10": 0.3,
        "recall_at_5": 0.2,
        "recall_at_10": 0.4,
        "rated_ndcg_at_5": 0.9,
    },
}


def test_the_first_picture_compares_the_model_with_what_it_has_to_beat() -> None:
    first = min(training_plots(FIGURES, None))
    assert first == "plots/1_comparison.png"
    titles = {
        metric: comparison(FIGURES, metric).axes[0].get_title()
        for metric in ("ndcg_at_10", "rmse", "interval_coverage_90", "log_likelihood")
    }
    assert titles == {
        "ndcg_at_10": "NDCG at 10 (higher is better)",
        "rmse": "Root mean squared error (lower is better)",
        "interval_coverage_90": "Ratings in the 90 % interval (0.9 is best)",
        "log_likelihood": "Log likelihood per rating (higher is better)",
    }
    bars = comparison(FIGURES, "rmse").axes[0].patches
    assert [bar.get_height() for bar in bars] == [0.94, 0.87]


def test_every_metric_has_a_panel_with_titles_in_words() -> None:
    panels = [axes for axes in ranking_curves(FIGURES).axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [
        *("NDCG", "Recall", "NDCG of rated items at 5 (higher is better)"),
    ]
    assert [len(axes.lines) for axes in panels] == [3, 2, 0]
    assert [axes.get_title() for axes in rating_bars(FIGURES).axes] == [
        *("Root mean squared error (lower is better)", "Mean absolute error (lower is better)"),
    ]
    curve = reliability([(0.5, 0.4), (0.9, 0.85)]).axes[0]
    assert list(curve.lines[1].get_ydata()) == [0.4, 0.85]
    assert reliability([]).axes[0].get_ylabel() == "Test ratings in the interval"


def test_names_and_descriptions_tell_runs_apart() -> None:
    params = TrainParams(algorithm="matchbox", metric="rmse")
    name = run_name(params, datetime(2026, 5, 1, 10, tzinfo=UTC))
    assert name == "train_recommender matchbox rmse 2026-05-01 10:00"
    text = describe_run(params, {"silver.interactions": 3})
    assert "**matchbox** on silver.interactions version 3" in text
    assert "Root mean squared error (lower is better)" in text
    assert describe_version(FIGURES, params, "it is the first version") == (
        "matchbox. Root mean squared error (lower is better): bias 0.9400, matchbox 0.8700. "
        "Decision: it is the first version"
    )
