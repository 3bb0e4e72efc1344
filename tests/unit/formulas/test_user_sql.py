"""SQL expressions of conf: they compute from the columns of a row, and do nothing else."""

import re

import pytest
import yaml
from tests.support.sources import ROOT

from matchlake.errors import ParameterError
from matchlake.formulas.user_sql import FUNCTIONS, check_expression

USED = [
    "rating * rating",
    "1.0",
    "rating",
    "stars * 2",
    "exp(-datediff(current_date(), event_time) / 365)",
    "lower(value)",
    "replace(value, '-', '')",
    "regexp_replace(value, '\"rating\": 70', '\"rating\": 7')",
]
"""The expressions of conf, pages and tests."""
HARMLESS = [
    *USED,
    "CASE WHEN rating >= 4 THEN 2 WHEN rating IS NULL THEN 0 ELSE 1 END",
    "CASE a WHEN 1 THEN 2 END",
    "cast(a AS decimal(10, 2))",
    "cast(a AS array<string>)",
    "try_cast(a AS double)",
    "a::int + a.b.c + a[0]",
    "if(a > 1, coalesce(a, b, 0), nvl(a, 2))",
    "get_json_object(value, '$.a')",
    "value:a.b",
    "concat('a', b) || 'reflect(' || \"secret(\"",
    "'it''s (SELECT 1) -- no comment /* at all */ {{ }}'",
    "a BETWEEN 1 AND 2 AND b IN (1, 2) OR NOT (c = 1)",
    "a RLIKE '^x[0-9]+$' AND b LIKE 'x%' AND c ILIKE 'y'",
    "transform(split(a, ','), x -> trim(x))",
    "transform(array(1), (x, i) -> x + i)",
    "filter(split(a, ','), x -> x <> '')",
    "`my col` + `a``b` + `x(`",
    "event_time > timestamp '2024-01-01' - interval 1 day",
    "date_trunc('DAY', event_time) <= date '2024-01-01'",
    "current_timestamp",
    "from_json(value, 'a INT').a",
    "to_json(named_struct('a', 1))",
    "element_at(map('a', 1), 'a') <=> NULL",
    "a DIV 2 % 3 & 1 | ~2",
    "-1e-3\n\t* log1p(rating)",
    "sha2(a, 256)",
    "'äöü 漢字'",
]
CALLS = [
    *("reflect('java.lang.System', 'getenv', 'x')", "java_method('a', 'b')", "try_reflect('a')"),
    *("secret('a', 'b')", "SECRET ('a', 'b')", "try_secret('a', 'b')", "list_secrets()"),
    *("read_files('x')", "read_kafka('x')", "http_request(conn => 'x')", "ai_query('a', b)"),
    *("ai_gen('a')", "vector_search(a)", "python_udf(a)", "nothing(value)", "input_file_name()"),
    *("CASE WHEN reflect('a') = '1' THEN 1 END", "lower(upper(reflect('a')))", "1 + -reflect('a')"),
    *(
        "cast(reflect('a') AS int)",
        "a[reflect('b')]",
        "a IN (1, reflect('b'))",
        "(((reflect('a'))))",
    ),
    *(
        "transform(array(1), x -> reflect('a'))",
        "aggregate(a, 0, (x, y) -> x)",
        "exists(a, x -> x)",
    ),
    *("`reflect`('a')", "` reflect`('a')", "reflect\n\t ('a')", "\"reflect\"('a')", "'lower'('a')"),
    *("system.builtin.lower('a')", "x.lower(a)", "x . lower(a)", "`x`.lower(a)", "`x`.`lower`(a)"),
    *("identifier('a')", "IDENTIFIER('ref' || 'lect')('x')", "sum(a)", "count(*)", "max(a)"),
    *("current_user()", "current_user", "SESSION_USER", "`current_user`", "user", "current_schema"),
    *("rand()", "uuid()", "raise_error('x')", "repeat('x', 1000000000)", "sequence(1, 1000000000)"),
    *("row_number() OVER (ORDER BY a)", "extract(year FROM a) + (SELECT 1)", "explode(a)"),
]
CHARACTERS = [
    *("reflect/**/('a')", "1 /* a */", "1 /*+ a */", "1 -- a", "1 --\r + reflect('a')", "1--1"),
    *("{{x}}", "{% x %}", "{# ' #} reflect('a') {# ' #}", "$a", "${a}", "?", "@a", "1; SELECT 2"),
    *("$$a$$ || reflect('a')", "r'\\' || reflect('x') || '", "'a\\' || reflect('x') || '"),
    *(
        "U&'\\0072eflect'('x')",
        "'\\u0072'",
        "re\u200bflect('a')",
        "reﬂect('a')",
        "\uff52eflect('a')",
    ),
    *("lower\u00a0(a)", "lower\u3000(a)", "\x00lower(a)", "lower(a)\x0b", "a\u2028b", "a\rb"),
    *("'", "a'", 'a"', "`a", "lower('", "#a", "1 " * 1001),
]
STRUCTURES = [
    *("(SELECT 1)", "SELECT 1", "(SELECT secret FROM t)", "a IN (SELECT 1)", "EXISTS (SELECT 1)"),
    *("EXISTS (TABLE t)", "(TABLE t)", "(FROM t)", "(FROM t SELECT a)", "(VALUES 1)", "VALUES 1"),
    *(
        "a IN (TABLE t)",
        "a IN (VALUES 1)",
        "(WITH x AS (SELECT 1) SELECT * FROM x)",
        "(FROM t |> a)",
    ),
    *("array(SELECT 1)", "cast((SELECT 1) AS int)", "transform((SELECT a), x -> x)", "LATERAL a"),
    *("CASE WHEN (SELECT 1) THEN 1 END", "a = ANY (SELECT 1)", "lower(a) UNION SELECT 1"),
    *(
        "map('a')",
        "(MAP a USING 'cat')",
        "(REDUCE a USING 'cat')",
        "lower(value => 'a')",
        "lower(a) OVER w",
    ),
    *("lower(a) OVER (PARTITION BY b)", "lower(a) FILTER (WHERE b)", "*", "a.*", ":a", "1, 2"),
    *("a AS b", "a b", "lower(value", "lower(a))", "", "  ", "CREATE FUNCTION f AS 'x'", "SET a=b"),
    *("ADD JAR 'x'", "DROP TABLE x", "USE x", "lower(a)(b)", "(lower)(a)", "a[0](b)", "(" * 900),
]


@pytest.mark.parametrize("sql", HARMLESS)
def test_an_expression_over_columns_is_returned(sql: str) -> None:
    assert check_expression(sql) == sql


def test_conf_and_pages_have_only_such_expressions() -> None:
    base = yaml.safe_load((ROOT / "conf" / "data" / "movielens.yml").read_text("utf-8"))
    pages = "\n".join(path.read_text("utf-8") for path in ROOT.glob("lib/matchlake/*/README.md"))
    given = re.findall(r'--fix "([^"]+)"', pages)
    assert given
    for sql in (base["train"]["weight"], *given):
        assert check_expression(sql) in USED


@pytest.mark.parametrize("sql", CALLS)
def test_a_call_of_another_function_is_refused_with_the_list(sql: str) -> None:
    with pytest.raises(
        ParameterError, match=r"not an allowed function. Allowed functions: abs, .*year"
    ):
        check_expression(sql)


@pytest.mark.parametrize("sql", CHARACTERS)
def test_a_character_that_may_hide_something_is_refused(sql: str) -> None:
    with pytest.raises(ParameterError, match=r"has a backslash, a comment, or a char|longer than"):
        check_expression(sql)


@pytest.mark.parametrize("sql", STRUCTURES)
def test_all_but_one_expression_is_refused(sql: str) -> None:
    with pytest.raises(ParameterError):
        check_expression(sql)


def test_no_function_of_the_list_reaches_outside() -> None:
    outside = re.compile(
        r"secret|reflect|java|file|read|http|ai_|url|aes|user|catalog|schema|uuid|rand"
    )
    assert [name for name in FUNCTIONS if outside.search(name)] == []
    assert not FUNCTIONS & {"repeat", "space", "sequence", "array_repeat"}, "they fill the memory"


def test_an_error_shortens_a_long_expression() -> None:
    with pytest.raises(ParameterError) as caught:
        check_expression("nothing(" + "1" * 1000 + ")")
    assert "1" * 190 + "...'" in str(caught.value)
    assert "1" * 200 not in str(caught.value)
