"""Rows as tables, CSV and JSON: nulls, times, nested values, any text, any column name."""

import csv
import io
import json

import pytest
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from matchlake.cli.sql.output import Answer, Format, fetch_answer, print_answer, write_rows

QUERY = """
    SELECT * FROM VALUES
    (1, 'plain', true, 0.1D, DATE'2024-02-29', TIMESTAMP'2024-02-29 12:00:00.250001',
     array('a', NULL), named_struct('x', 1, 'y', CAST(NULL AS INT)), map('k', 1.50), X'00FF',
     12345678901234567890.123, 9007199254740993L),
    (2, 'a,"b"\nc', false, DOUBLE('NaN'), NULL, NULL, array(), NULL, NULL, NULL, NULL, NULL),
    (3, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (5, 'Amélie 映画 🎬', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
    AS t(`n`, `te.xt`, `text`, `Text`, day, at, list, pair, pairs, raw, exact, big)
    ORDER BY n
"""


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    return spark.sql(QUERY)


def _written(frame: DataFrame, style: Format, limit: int | None = None) -> tuple[str, bool]:
    out = io.StringIO()
    cut = write_rows(frame, style, limit, out)
    return out.getvalue(), cut


def test_csv_reads_back(frame: DataFrame) -> None:
    text, cut = _written(frame, Format.CSV)
    assert not cut
    header, *rows = csv.reader(io.StringIO(text))
    assert header == frame.columns
    assert rows[0] == [
        *("1", "plain", "true", "0.1", "2024-02-29", "2024-02-29 12:00:00.250001"),
        *('["a",null]', '{"x":1,"y":null}', '{"k":1.50}', "00FF"),
        *("12345678901234567890.123", "9007199254740993"),
    ]
    assert [row[1] for row in rows] == ["plain", 'a,"b"\nc', "", "", "Amélie 映画 🎬"]
    lines = text.splitlines()
    assert [line[:3] for line in lines[-3:]] == ['3,"', "4,,", "5,A"]


def test_json_reads_back(frame: DataFrame) -> None:
    text, cut = _written(frame, Format.JSON)
    assert not cut
    first, second, third, fourth, fifth = json.loads(text)
    assert first == {
        "n": 1,
        "te.xt": "plain",
        "text": True,
        "Text": 0.1,
        "day": "2024-02-29",
        "at": "2024-02-29T12:00:00.250001Z",
        "list": ["a", None],
        "pair": {"x": 1, "y": None},
        "pairs": {"k": 1.50},
        "raw": "AP8=",
        "exact": 12345678901234567890.123,
        "big": 9007199254740993,
    }
    assert (second["te.xt"], second["Text"], second["list"]) == ('a,"b"\nc', "NaN", [])
    assert (third["te.xt"], fourth["te.xt"], fifth["te.xt"]) == ("", None, "Amélie 映画 🎬")
    assert set(fourth) == set(frame.columns)
    assert "映画" in text


def test_no_rows_are_still_valid_output(frame: DataFrame) -> None:
    empty = frame.where("n > 9").select("n", "day")
    assert _written(empty, Format.CSV) == ("n,day\n", False)
    assert json.loads(_written(empty, Format.JSON)[0]) == []


def test_a_limit_truncates_and_is_reported(frame: DataFrame) -> None:
    numbers = frame.select("n")
    assert _written(numbers, Format.CSV, limit=2) == ("n\n1\n2\n", True)
    assert _written(numbers, Format.CSV, limit=5)[1] is False
    assert [row["n"] for row in json.loads(_written(numbers, Format.JSON, limit=3)[0])] == [1, 2, 3]
    cut = fetch_answer(numbers, 2)
    assert (cut.rows, cut.cut, cut.numeric) == ([("1",), ("2",)], True, (True,))
    assert fetch_answer(numbers, None).cut is False


def test_columns_of_one_name_stay_separate(spark: SparkSession) -> None:
    frame = spark.sql("SELECT 1 AS a, 2 AS a, 3 AS A")
    assert _written(frame, Format.CSV)[0] == "a,a,A\n1,2,3\n"
    assert json.loads(_written(frame, Format.JSON)[0]) == [{"a": 1, "a_2": 2, "A": 3}]
    assert fetch_answer(frame, None).rows == [("1", "2", "3")]


def _printed(answer: Answer, **console: object) -> str:
    out = io.StringIO()
    print_answer(answer, Console(file=out, color_system=None, **console))  # type: ignore[arg-type]
    return out.getvalue()


def test_a_piped_table_is_never_wrapped_and_data_cannot_steer_the_terminal() -> None:
    long = "x" * 500
    rows = [("1", f"[red]{long}[/red]"), (None, "\x1b[2Jü\x07")]
    text = _printed(Answer(("n", "text"), (True, False), rows, cut=False), force_terminal=False)
    assert f"[red]{long}[/red]" in text
    assert "NULL" in text
    assert "\\u001b[2Jü\\u0007" in text
    assert "\x1b" not in text
    assert "(2 rows)" in text


def test_a_truncated_table_says_how_to_see_all() -> None:
    text = _printed(Answer(("n",), (True,), [("1",)], cut=True))
    assert "(1 row; there are more: --limit 0 shows all)" in text


@pytest.mark.parametrize(
    ("row", "vertical"),
    [
        (("x" * 30, "y" * 30), True),
        (("short", "a sentence of several words that is longer than the terminal is wide"), False),
        (("short", "y" * 20), False),
    ],
)
def test_rows_wider_than_the_terminal_are_printed_vertically(
    row: tuple[str, str],
    vertical: bool,  # noqa: FBT001 - a case of the test
) -> None:
    out = io.StringIO()
    answer = Answer(("first", "a long name"), (False, False), [(*row,), (None, "2")], cut=False)
    console = Console(file=out, width=50, force_terminal=True, color_system=None)
    print_answer(answer, console)
    said = out.getvalue()
    assert ("row 2\n" in said) == vertical
    assert said.count("NULL") == 1
    assert "(2 rows)" in said
    if vertical:
        assert (
            f"first        {row[0]}\n"
            in "\n".join(line.rstrip() for line in said.splitlines()) + "\n"
        )
