"""Scores of features without Spark: against SciPy and scikit-learn, choices, and refusals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from tests.support.shaped_sets import METHODS, expected_scores, shaped_sets

from matchlake import SelectParams, select_features
from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.learners.selection.scores import corrected
from matchlake.learners.selection.statistics import scale_of
from matchlake.learners.selection.table import TableSource

SETS = shaped_sets()
RANDOM = np.random.default_rng(2)


@pytest.mark.parametrize("name", SETS)
def test_scores_and_p_values_are_those_of_scipy_and_scikit_learn(name: str) -> None:
    given = SETS[name]
    expected = expected_scores(given)
    for method, (feature, label) in METHODS.items():
        params = SelectParams.model_validate({"method": method})
        score, p_value = expected[method]
        if score is None:
            with pytest.raises(InputError, match="keeps no feature"):
                select_features(given.rows, label, params, columns=[feature])
            continue
        (found,) = select_features(given.rows, label, params, columns=[feature]).scores
        assert found.score == pytest.approx(score, rel=1e-9, abs=1e-13), method
        if p_value is not None:
            assert found.p_value == pytest.approx(p_value, rel=1e-9), method


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_any_table_gives_the_same(make: Callable[[Any], Any]) -> None:
    rows = SETS["plain"].rows
    found = select_features(make(dict(rows)), "y", SelectParams(top=1), columns=["x"])
    assert found.kept == ("x",)
    assert found.scores[0].score == pytest.approx(expected_scores(SETS["plain"])["anova"][0])


def test_numbers_are_cut_at_their_quantiles() -> None:
    x = RANDOM.normal(size=500)
    y = np.where(np.abs(x) > 0.7, "far", "near")
    rows = pd.DataFrame({"x": x, "noise": RANDOM.normal(size=500), "y": y})
    found = select_features(rows, "y", SelectParams(method="chi_square", bins=5))
    groups = np.searchsorted(np.quantile(x, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"), x)
    table = pd.crosstab(groups, y).to_numpy()
    assert found.scores[0].feature == "x"
    expected = stats.chi2_contingency(table, correction=False).statistic
    assert found.scores[0].score == pytest.approx(expected, rel=1e-12)
    whole = SelectParams(method="mutual_information", bins=None, max_categories=100)
    assert [each.reason for each in select_features(rows, "y", whole).scores] == [
        *["more than 100 categories"] * 2
    ]


def test_zero_and_minus_zero_are_one_category() -> None:
    rows = pd.DataFrame({"x": [0.0, -0.0, 1.0, 0.0] * 20, "y": ["a", "b", "a", "b"] * 20})
    params = SelectParams(method="chi_square", bins=None)
    (found,) = select_features(rows, "y", params).scores
    table = pd.crosstab(rows["x"] + 0.0, rows["y"]).to_numpy()
    expected = stats.chi2_contingency(table, correction=False)
    assert (found.score, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_a_large_table_is_summed_up_by_blocks() -> None:
    group, y = RANDOM.integers(0, 3000, (2, 40_000))
    rows = pd.DataFrame({"group": group, "y": y})
    params = SelectParams(method="chi_square")
    (found,) = select_features(rows, "y", params, categories=["group"]).scores
    table = np.zeros((3000, 3000))
    np.add.at(table, (group, y), 1)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / 40_000
    assert found.score == pytest.approx(np.sum((table - expected) ** 2 / expected), rel=1e-12)


def test_a_label_of_numbers_is_compared_between_categories() -> None:
    group = RANDOM.integers(0, 4, 300)
    z = group * 0.5 + RANDOM.normal(size=300)
    rows = pd.DataFrame({"group": group, "x": z * 0.1 + RANDOM.normal(size=300), "z": z})
    found = select_features(rows, "z", SelectParams(method="anova"), categories=["group"])
    by_name = {each.feature: each for each in found.scores}
    expected = stats.f_oneway(*(z[group == each] for each in range(4)))
    assert by_name["group"].score == pytest.approx(expected.statistic, rel=1e-12)
    assert by_name["group"].p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert by_name["x"].kept, "what a method does not score is kept"
    assert by_name["x"].reason == "anova does not score a double"


def test_categoricals_of_pandas_are_their_values() -> None:
    texts = pd.DataFrame(
        {"group": RANDOM.choice(["a", "b", None], 300), "y": RANDOM.choice(["no", "yes"], 300)}
    )
    levels = texts.astype(pd.CategoricalDtype()).assign(
        number=pd.Categorical(RANDOM.integers(0, 3, 300))
    )
    params = SelectParams(method="chi_square")
    (expected,) = select_features(texts, "y", params).scores
    (found,) = select_features(levels, "y", params, columns=["group"]).scores
    assert found.score == pytest.approx(expected.score, rel=1e-12)
    counts = select_features(levels, "y", SelectParams(method="count")).scores
    assert {each.feature: each.score for each in counts} == {
        "group": float(texts["group"].notna().sum()),
        "number": 300.0,
    }


def test_columns_that_are_constant_where_both_have_values_repeat_nothing() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        one, other = random.normal(size=60), random.normal(size=60)
        one[:30], other[30:] = random.normal(), np.nan
        source = TableSource(pa.table({"one": one, "other": other}))
        found = source.correlations(["one", "other"])
        assert np.isnan(found[0, 1])
        assert found[0, 0] == pytest.approx(1.0)


def planted(noise: int = 20, seed: int = 0) -> pd.DataFrame:
    """A class, two columns that tell it, a copy of one of them, and noise."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, 800)
    rows = pd.DataFrame({f"n{i}": random.normal(size=800) for i in range(noise)})
    rows["strong"] = y + 0.5 * random.normal(size=800)
    rows["copy"] = -3 * rows["strong"] + 0.6 * random.normal(size=800)
    rows["weak"] = 0.8 * y + random.normal(size=800)
    rows["flat"] = 1.0
    return rows.assign(y=np.where(y, "yes", "no"))


def test_the_best_are_kept_by_number_p_value_score_and_redundancy() -> None:
    rows = planted()
    assert select_features(rows, "y", SelectParams(top=3)).kept == ("strong", "copy", "weak")
    chosen = select_features(rows, "y", SelectParams(max_p_value=0.001))
    assert chosen.kept == ("strong", "copy", "weak")
    assert chosen.scores[0].rank == 1
    flat = next(each for each in chosen.scores if each.feature == "flat")
    assert (flat.kept, flat.reason, flat.score) == (False, "constant", None)
    apart = SelectParams(top=2, max_correlation=0.9)
    found = select_features(rows, "y", apart)
    assert found.kept == ("strong", "weak")
    copy = next(each for each in found.scores if each.feature == "copy")
    assert copy.reason is not None
    assert copy.reason.startswith("its correlation with strong is -0.9")
    best = select_features(rows, "y", SelectParams(method="fisher", min_score=0.3))
    assert best.kept == ("strong", "copy")
    assert list(best.to_pandas()["feature"])[:2] == ["strong", "copy"]


def test_planted_signals_are_above_all_noise() -> None:
    for seed in range(20):
        rows = planted(seed=seed)
        for method in ("anova", "mutual_information"):
            params = SelectParams.model_validate({"method": method, "top": 3})
            assert set(select_features(rows, "y", params).kept) == {"strong", "copy", "weak"}


def test_presence_is_counted() -> None:
    rows = pd.DataFrame({"a": [1.0, np.nan, np.inf, 4.0], "b": ["x", None, "y", "z"], "y": "abab"})
    rows["y"] = list("abab")
    found = select_features(rows, "y", SelectParams(method="count"))
    assert {each.feature: each.score for each in found.scores} == {"a": 2.0, "b": 3.0}


def test_p_values_are_corrected_for_their_number() -> None:
    p = RANDOM.random(40) ** 3
    p[7] = np.nan
    known = ~np.isnan(p)
    found = corrected(p, "benjamini_hochberg")
    assert found[known] == pytest.approx(stats.false_discovery_control(p[known]), rel=1e-12)
    assert corrected(p, "bonferroni")[known] == pytest.approx(np.minimum(1, p[known] * 39))
    assert np.isnan(found[7])


@pytest.mark.parametrize(
    ("label", "params", "text"),
    [
        ("yy", {}, r"Missing column\(s\).*yy.*Did you mean y"),
        ("y", {"method": "pearson"}, "pearson needs a numeric label here, but y is string"),
        (
            "z",
            {"method": "chi_square"},
            "chi_square needs a label of classes .* is double",
        ),
        ("nothing", {}, "anova keeps no feature. x: fewer than two groups"),
    ],
)
def test_what_cannot_be_scored_is_refused(label: str, params: Any, text: str) -> None:
    rows = SETS["plain"].rows.assign(nothing=pd.Series([None] * 400, dtype="string"))
    with pytest.raises((SchemaError, ParameterError, InputError), match=text):
        select_features(rows, label, SelectParams.model_validate(params), columns=["x"])


def test_fisher_has_no_p_values() -> None:
    with pytest.raises(ParameterError, match="fisher has no p-values: use top or min_score"):
        SelectParams(method="fisher", max_p_value=0.1)


@pytest.mark.parametrize("values", [[5e-324], [1.7e308, -1.7e308], [0.0], [1e12, 1e12 + 1]])
def test_a_scale_is_finite_and_keeps_a_difference(values: list[float]) -> None:
    given = np.array(values)
    scale = scale_of(given)
    made = given * scale.factor - scale.shift
    assert np.isfinite(made).all()
    assert (np.abs(made) <= 4).all()
    assert len(set(made)) == len(set(values))
