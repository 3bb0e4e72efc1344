"""Quotes and comments hide no end of a statement and no writing word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchlake.cli.sql.statements import (
    first_word,
    has_code,
    mentioned_names,
    mentions_writing,
    script_statements,
    split_statements,
)


@pytest.mark.parametrize(
    ("sql", "statements", "rest"),
    [
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1;\n SELECT 2 ; SELECT 3", ["SELECT 1", "SELECT 2"], " SELECT 3"),
        ("SELECT ';' AS a;", ["SELECT ';' AS a"], ""),
        (r"SELECT 'it\'s; so';", [r"SELECT 'it\'s; so'"], ""),
        (r"SELECT r'\' AS a; SELECT 2;", [r"SELECT r'\' AS a", "SELECT 2"], ""),
        ('SELECT "a;b";', ['SELECT "a;b"'], ""),
        ("SELECT `a;b` FROM t;", ["SELECT `a;b` FROM t"], ""),
        ("SELECT 1 /* a /* b */ ; c */;", ["SELECT 1 /* a /* b */ ; c */"], ""),
        ("SELECT /*+ hint(';') */ 1; 2", ["SELECT /*+ hint(';') */ 1"], " 2"),
        ("SELECT 1 -- no; end\r; 2", ["SELECT 1 -- no; end"], " 2"),
        ("SELECT 1 -- no; end\n;", ["SELECT 1 -- no; end"], ""),
        ("SELECT /* ; */ 1;", ["SELECT /* ; */ 1"], ""),
        ("SELECT 'open; ", [], "SELECT 'open; "),
        ("SELECT /* open; ", [], "SELECT /* open; "),
        ("; ;;", [], ""),
        ("SELECT 1; -- done", ["SELECT 1"], ""),
        ("", [], ""),
    ],
)
def test_semicolons_end_statements_only_in_code(sql: str, statements: list[str], rest: str) -> None:
    assert split_statements(sql) == (statements, rest)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "SELECT"),
        ("  -- first\n /* second */ With x AS (SELECT 1) SELECT * FROM x", "WITH"),
        ("/* outer /* inner */ still */ SELECT 1", "SELECT"),
        ("--\rINSERT INTO t SELECT 1", "INSERT"),
        ("-- \\\nSELECT\nDROP TABLE t", "DROP"),
        ("-- \\\nSELECT 1 /*\nDROP TABLE t --*/", "DROP"),
        ("((SELECT 1) UNION (SELECT 2))", "SELECT"),
        ("'SELECT'", ""),
        ("INSERT INTO t SELECT 1", "INSERT"),
        ("", ""),
    ],
)
def test_the_first_word_stands_behind_comments_and_brackets(sql: str, word: str) -> None:
    assert first_word(sql) == word


@pytest.mark.parametrize(
    "sql",
    [
        "WITH x AS (SELECT 1) /* /* */ ' */ INSERT INTO t SELECT * FROM x -- '",
        "WITH x AS (SELECT 1) --\rINSERT INTO t SELECT * FROM x",
        "WITH x AS (SELECT /*+ a(' */ ') */ 1) INSERT INTO t SELECT * FROM x",
    ],
)
def test_no_comment_hides_a_writing_statement(sql: str) -> None:
    assert mentions_writing(sql)


def test_names_are_pairs_in_code() -> None:
    sql = """
        SELECT r.user_id, 'no.text' FROM Gold.Recommendations r -- no.comment
        JOIN `bronze` . `items` i USING (item_id) WHERE score > 1.5 AND main.silver.x > 0
    """
    assert list(mentioned_names(sql)) == [
        "r.user_id",
        "gold.recommendations",
        "bronze.items",
        "1.5",
        "main.silver",
        "silver.x",
    ]


@given(st.lists(st.text(alphabet="ab'\"`;-/*\\\n r", max_size=20)))
def test_nothing_of_the_code_is_lost_or_invented(pieces: list[str]) -> None:
    sql = ";".join(pieces)
    statements, rest = split_statements(sql)
    assert all(has_code(each) for each in statements)
    position = 0
    for each in [*statements, rest]:
        position = sql.index(each, position) + len(each)
    assert split_statements(sql + "*/`;")[0][: len(statements)] == statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\\d\nuse gold; \\d top_items\nSELECT 1;\n",
            ["\\d", "use gold", "\\d top_items", "SELECT 1"],
        ),
        ("SELECT 1;\n\\d\nSELECT\n2", ["SELECT 1", "\\d", "SELECT\n2"]),
        ("SELECT '\n\\d\n';\n\\d x", ["SELECT '\n\\d\n'", "\\d x"]),
        ("/* \n\\d\n */ SELECT 1", ["/* \n\\d\n */ SELECT 1"]),
        ("-- nothing\n", []),
    ],
)
def test_commands_of_a_script_end_with_their_line(text: str, expected: list[str]) -> None:
    assert [each.strip() for each in script_statements(text)] == expected
