"""Which conditions can be written so that they never fail, and what is said of the others."""

import pytest

from matchlake.errors import ParameterError
from matchlake.formulas.error_free_sql import error_free_condition

COLUMNS = {
    "a": "int",
    "b": "bigint",
    "d": "double",
    "p": "decimal(38,30)",
    "q": "decimal(10,2)",
    "Name": "string",
    "t": "timestamp",
    "day": "date",
    "ok": "boolean",
    "g": "array<string>",
}


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("a / b > 1", "(try_divide(`a`, `b`) > 1)"),
        ("a + b - a * b % a >= -3", None),
        ("CAST(name AS INT) > 0", "(TRY_CAST(`Name` AS INT) > 0)"),
        ("name::double > 0 AND int(name) < 9", None),
        ("-a < abs(b)", "(try_subtract(0, `a`) < abs(CAST(`b` AS DECIMAL(20,0))))"),
        ("NOT ok OR a IS NOT NULL", "((NOT `ok`) OR (NOT (`a` IS NULL)))"),
        ("t + INTERVAL 2 HOURS > day", "(try_add(`t`, INTERVAL '2' HOUR) > `day`)"),
        ("g[1] = 'x'", "(get(`g`, 1) = 'x')"),
        ("name LIKE 'x%'", "(`Name` LIKE 'x%')"),
        ("name LIKE '_x%'", "IF(length(`Name`) > 1000, NULL, `Name` LIKE '_x%')"),
        ("name = 'a$b'", r"(`Name` = 'a\u0024b')"),
        ("day >= DATE '2024-05-01'", "(`day` >= TRY_CAST('2024-05-01' AS DATE))"),
        ("q * a = round(q, 1)", "(try_multiply(`q`, `a`) = round(`q`, 1))"),
        ("a BETWEEN 1 AND b", "(`a` >= 1 AND `a` <= `b`)"),
    ],
)
def test_what_can_fail_is_written_with_functions_that_give_null(
    sql: str, written: str | None
) -> None:
    found = error_free_condition(sql, COLUMNS)
    assert found == (written or found)
    assert not any(f" {sign} " in found for sign in "+-*/%")
    assert "TRY_CAST" in found or " AS INT" not in found


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("nothing > 1", "there is no column nothing; the columns are a, b, d, p, q, Name, t"),
        ("x.a > 1", r"there is no column x\.a"),
        ("name > 5", r"'name > 5': name > 5 has a text and a number; cast one of them"),
        ("a IN ('1')", "has a number and a text"),
        ("day > '2024-05-01'", "has a date and a text; cast one of them"),
        ("day > DATE '2024-13-01'", "'2024-13-01' is no date such as 2024-05-01"),
        ("name + 1 > 2", r"a text \+ a number is not allowed; cast a string"),
        ("day + 1 > day", "add days with date_add or an interval"),
        ("p > b", "has decimals of 50 digits together, and 38 is the limit; cast them to DOUBLE"),
        ("a", "'a' is a number, but a rule must be a condition"),
        ("a AND ok", "a is a number, but must be a condition"),
        ("a = NULL", "is always null. Use IS NULL or IS NOT NULL"),
        ("a DIV 2 = 1", "has no error-free form"),
        ("current_timestamp() > t", "or is not deterministic; a rule can call abs"),
        (
            "date_add(day, a) > day",
            "needs an integer from -100000 to 100000, such as 3, not a column",
        ),
        ("element_at(g, 0) = 'x'", "and not 0"),
        ("name RLIKE '(a|b)*'", "the pattern .* is not allowed: use characters, sets"),
        ("name RLIKE name", "a pattern must be a string in single quotes"),
        ("q > 1e999", "the number 1e999 has more than 18 digits or is too large"),
        ("(SELECT max(a) FROM x) > 1", "calls max, which is not an allowed function"),
        (
            "reflect('java.lang.System', 'exit') IS NULL",
            "calls reflect, which is not an allowed",
        ),
        ("a > 1; b > 1", "is not allowed|a character that no expression needs"),
        (" + ".join(["a"] * 60) + " > 1", "it is nested deeper than 50"),
        ("a >", "is not a SQL expression"),
        ("t = '", "a backslash, a comment, or a character"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(sql: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        error_free_condition(sql, COLUMNS)


def test_a_short_text_does_not_become_a_long_one() -> None:
    """Each pattern doubles its text, so nested ones would double it again and again."""
    text = "name"
    for _ in range(14):
        text = f"IF({text} LIKE '_x','a','b')"
    with pytest.raises(ParameterError, match="is too long: split it into several rules"):
        error_free_condition(f"{text} = 'a'", COLUMNS)
