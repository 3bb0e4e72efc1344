"""SQL of other dialects: the sentence says how Spark writes the same."""

import pytest

from matchlake.cli.sql.dialects import in_spark


@pytest.mark.parametrize(
    ("sql", "translated"),
    [
        ("SELECT TOP 5 * FROM gold.t", "SELECT * FROM gold.t LIMIT 5"),
        ("SELECT [user id] FROM t", "SELECT `user id` FROM t"),
        ("SELECT a FROM t LIMIT 2, 3", "SELECT a FROM t LIMIT 3 OFFSET 2"),
    ],
)
def test_another_dialect_is_translated(sql: str, translated: str) -> None:
    hint = in_spark(sql, lambda made: made == translated)
    assert hint == f"This is SQL of another dialect; in Spark SQL it is: {translated}"


def test_what_no_dialect_reads_has_no_hint() -> None:
    assert in_spark("SELEC ? FORM !", lambda _: True) is None
    assert in_spark("SELECT TOP 5 * FROM t", lambda _: False) is None
    assert in_spark(f"SELECT TOP 5 {'x, ' * 9000} y FROM t", lambda _: True) is None
