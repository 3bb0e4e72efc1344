"""The prompt: several lines to a statement, its own words, clean on Ctrl-C, Ctrl-D and mistakes."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from matchlake.cli.sql.analyst import Analyst
from matchlake.cli.sql.prompt import line_editing, run_prompt, take_line
from matchlake.config import load_config
from matchlake.io.delta import Lakehouse

Typed = str | type[BaseException]


@pytest.fixture
def converse(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Types lines (or keys, as the exceptions they raise) and returns what was printed."""
    config = load_config("demo", [f"lakehouse={tmp_path}"])
    analyst = Analyst(Lakehouse(spark, None, config.warehouse), config)

    def run(*typed: Typed, limit: int | None = 100) -> str:
        out = io.StringIO()
        monkeypatch.setattr("builtins.input", _typing(typed, out))
        run_prompt(analyst, Console(file=out, color_system=None), limit)
        return out.getvalue()

    return run


def _typing(typed: Iterable[Typed], out: io.StringIO) -> Callable[[str], str]:
    lines = iter(typed)

    def read(prompt: str) -> str:
        line = next(lines)
        out.write(prompt)
        if isinstance(line, str):
            out.write(f"{line}\n")
            return line
        raise line

    return read


def test_a_statement_may_span_lines(converse: Callable[..., str]) -> None:
    said = converse("SELECT 'a;", "b' AS text,", "", "7 AS n; SELECT 8 AS m;", "exit")
    assert said.count("sql> ") == 2
    assert said.count("...> ") == 3
    assert "│ a;   │ 7 │\n│ b    │   │" in said
    assert "│ 8 │" in said


def test_ctrl_c_drops_the_typed_text_and_ctrl_d_leaves(converse: Callable[..., str]) -> None:
    said = converse("SELECT 1 +", KeyboardInterrupt, "SELECT 2 AS n;", EOFError)
    assert "error" not in said
    assert "│ 2 │" in said
    assert said.endswith("sql> \n")


def test_a_mistake_does_not_end_the_prompt(converse: Callable[..., str]) -> None:
    said = converse("SELEC [b]1;", "DROP TABLE x;", "SELECT * FROM a.b;", "SELECT 3 AS n;", "quit;")
    assert said.count("error: ") == 3
    assert "only reads: SELEC is not" in said
    assert "There is no table a.b." in said
    assert "│ 3 │" in said


def test_backslash_words_use_and_a_lone_semicolon(converse: Callable[..., str]) -> None:
    said = converse(";", "\\d", "\\d a.b", "\\x y", "use golld", "USE gold;", "\\q")
    assert "There is nothing to run" in said
    assert "(0 rows)" in said
    assert "There is no table a.b." in said
    assert "\\x y is unknown: \\d lists tables" in said
    assert (
        "USE takes one of the schemas bronze, silver, gold, not golld. Did you mean gold?" in said
    )
    assert "│ gold   │" in said
    assert "...> " not in said


def test_its_own_words_need_no_semicolon(converse: Callable[..., str]) -> None:
    said = converse("help", "tables", "TABLES;", "describe a.b", "exit")
    assert "describe NAME" in said
    assert said.count("(0 rows)") == 2
    assert "There is no table a.b." in said
    assert "...> " not in said


def test_a_long_result_is_truncated(converse: Callable[..., str]) -> None:
    said = converse("SELECT explode(sequence(1, 9)) AS n;", "exit", limit=3)
    assert "(3 rows; there are more" in said


def test_lines_that_complete_nothing_stay_open() -> None:
    assert take_line("", "-- only a remark") == ([], "")
    assert take_line("SELECT\n", "tables") == ([], "SELECT\ntables\n")
    assert take_line("SELECT\n", "1;") == (["SELECT\n1"], "")


def test_history_is_kept_between_sessions(tmp_path: Path) -> None:
    readline = pytest.importorskip("readline")
    history = tmp_path / "history"
    with line_editing(history, ["gold.top_items", "gold.recommendations"]):
        readline.clear_history()
        readline.add_history("SELECT 1;")
        complete = readline.get_completer()
        assert [complete("gold.t", 0), complete("gold.t", 1)] == ["gold.top_items", None]
    assert "SELECT 1;" in history.read_text()
    readline.clear_history()
    with line_editing(history, []):
        assert readline.get_history_item(1) == "SELECT 1;"
    with line_editing(tmp_path / "no" / "such" / "folder", []):
        pass
