"""Charts of data as somebody may send it: nothing is lost, changed or refused."""

import pandas as pd

from matchlake.reports.charts import draw, drawable, number_text
from matchlake.reports.spec import Field, Widget

NUMBER, TEXT = Field("n", "number", "N"), Field("c", "text", "C")
BAR = Widget("b", "B", "bar", (), "", (TEXT, NUMBER))
LINE = Widget("l", "L", "line", (), "", (Field("x", "number", "X"), NUMBER, TEXT))


def test_long_names_of_columns_can_be_told_apart() -> None:
    names = [f"gold.a_long_name_of_a_feature_table.{end}" for end in ("age", "zip_code")]
    svg = draw(BAR, pd.DataFrame({"c": names, "n": [1.0, 2.0]}))
    assert "gold.a_long_name_…eature_table.age" in svg
    assert "e_table.zip_code" in svg


def test_text_that_looks_like_markup_or_a_color_stays() -> None:
    svg = draw(BAR, pd.DataFrame({"c": ["#010203", "<b>$x$</b>"], "n": [1.0, 2.0]}))
    assert svg.count("#010203") == svg.count(">#010203<") == 1
    assert "&lt;b&gt;$x$&lt;/b&gt;" in svg
    assert "var(--series-1)" in svg
    assert "#0a0b" not in svg


def test_every_line_has_its_name_in_the_legend() -> None:
    rows = pd.DataFrame({"x": [1, 1, 1], "n": [1.0, 2.0, 3.0], "c": ["_hidden", None, "plain"]})
    svg = draw(LINE, rows)
    assert all(f">{name}<" in svg for name in ("_hidden", "plain", "(empty)"))


def test_bars_without_a_name_or_a_finite_number() -> None:
    rows = pd.DataFrame({"c": [None, "inf", "nan"], "n": [3.0, float("inf"), float("nan")]})
    assert ">(empty)<" in draw(BAR, rows)
    assert drawable(BAR, rows)["n"].tolist() == [3.0]
    assert drawable(BAR, rows.iloc[1:]).empty


def test_numbers_are_short_and_never_fail() -> None:
    values = (0.0, 1234567.0, 1234.56, 0.12345, 1e300, float("inf"))
    shown = ["0", "1,234,567", "1,234.6", "0.1235", "1e+300", "inf"]
    assert [number_text(value) for value in values] == shown
