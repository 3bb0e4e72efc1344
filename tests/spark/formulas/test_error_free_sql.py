"""No value makes an error-free condition fail, and each has the value that plain SQL gives."""

import itertools

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType

from matchlake.errors import ParameterError
from matchlake.formulas.error_free_functions import FIXED
from matchlake.formulas.error_free_sql import error_free_condition
from matchlake.formulas.sql_types import arithmetic_type, named_type

TYPES = {
    "a": "int",
    "b": "bigint",
    "d": "double",
    "p": "decimal(38,30)",
    "q": "decimal(10,2)",
    "w": "decimal(38,0)",
    "s": "string",
    "t": "timestamp",
    "day": "date",
    "ok": "boolean",
    "g": "array<string>",
}
MOST = "9" * 38
ROWS = [
    "0, 0, 0, 0, 0, '0', '', '2024-05-01', '2024-05-01', false, array()",
    f"""2147483647, 9223372036854775807, 1.7E308, 99999999.5, 99999999.99, '{MOST}', 'x',
        '9999-12-31 23:59:59.999999', '9999-12-31', true, array('a', null)""",
    f"""-2147483648, -9223372036854775807L - 1, -1.7E308, -99999999.5, -99999999.99, '-{MOST}',
        '1e999', '0001-01-01', '0001-01-01', true, null""",
    """-1, -1, double('NaN'), 1, -0.01, '1', repeat('a', 100000), '1970-01-01', '1969-12-31', null,
        array('x')""",
    "7, 3, 0.5, 0.5, 12.5, '3', '12', '2024-02-29', '2024-02-29', true, array('a', 'b')",
    "null, null, null, null, null, null, null, null, null, null, null",
]
TYPICAL = [
    "a / b > 1",
    "CAST(s AS INT) > 0",
    "round(q * a, 1) = q",
    "t - timestamp '1900-01-01' < INTERVAL '2' HOUR",
    "s RLIKE '^[^@]+@[^@]+[.][^@]+$' OR s LIKE 'x%_y'",
    "CASE WHEN ok THEN a ELSE q END > 1.5",
    "coalesce(q, a, 0) BETWEEN -a AND abs(b)",
    "greatest(a, b, q) > least(d, 2) AND nullif(a, 0) IS NOT NULL",
    "date_add(day, 100000) > add_months(day, -1000)",
    "t + INTERVAL '999999' YEAR > day AND day - INTERVAL '999999' DAY < t",
    "element_at(g, -1) = g[7] OR array_join(g, s) = s || s",
    "pow(d, d) > exp(d) OR ln(a) < sqrt(b) OR floor(d) = ceil(q)",
    "p > 5 AND w <> 12345678901234567.5e0",
    "to_timestamp(s) > t OR try_cast(s AS date) = day OR boolean(s)",
    "if(ok, a, q) = 1 AND a IN (1, 2.5, 3) AND ok IS NOT TRUE",
]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    values = ", ".join(f"({row})" for row in ROWS)
    casts = (f"CAST({name} AS {kind}) AS {name}" for name, kind in TYPES.items())
    return spark.sql(f"SELECT {', '.join(casts)} FROM VALUES {values} AS r({', '.join(TYPES)})")


def test_no_value_makes_a_condition_fail(rows: DataFrame) -> None:
    """All pairs of columns with all operators, all functions: accepted ones give a value."""
    conditions = [*TYPICAL, *operators(), *calls()]
    written = [sql for each in conditions if (sql := accepted(each))]
    assert len(written) > 400
    for at in range(0, len(written), 100):
        some = written[at : at + 100]
        found = rows.select(*(F.expr(sql).alias(f"c{i}") for i, sql in enumerate(some)))
        assert len(found.collect()) == len(ROWS)


def test_plain_expressions_fail_where_error_free_ones_are_null(rows: DataFrame) -> None:
    fails = (
        "a / 0 > 1",
        "a + a > 0",
        "CAST(s AS INT) > 0",
        "a % 0 = 1",
        "g[7] = 'x'",
        "abs(b) > 1",
    )
    for plain in fails:
        with pytest.raises(PySparkException):
            rows.select(F.expr(plain)).collect()
    for each in ("a / 0 > 1", "CAST('x' AS INT) > 0", "a % 0 = 1", "q / 0 = 1"):
        assert {row[0] for row in rows.select(F.expr(sql_of(each))).collect()} == {None}
    sums = rows.select(F.expr(sql_of("a + a > 0"))).collect()
    assert [row[0] for row in sums] == [False, None, None, False, True, None]


def test_results_are_those_of_plain_sql(rows: DataFrame) -> None:
    """On harmless values the written condition and the plain one agree."""
    harmless = rows.where("a = 7")
    for each in TYPICAL:
        if any(part in each for part in ("s AS", "to_timestamp", "YEAR", "g[7]")):
            continue
        plain, written = harmless.select(F.expr(each), F.expr(sql_of(each))).collect()[0]
        assert plain == written, each


def test_the_digits_of_decimals_are_those_of_spark(rows: DataFrame) -> None:
    signs = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "mod"}
    for left, right, sign in itertools.product("abdpqw", "abdpqw", signs):
        first, second = (named_type(TYPES[name]) for name in (left, right))
        assert first
        assert second
        expected = arithmetic_type(sign, first, second)
        call = F.expr(f"try_{signs[sign]}({left}, {right})").alias("x")
        kind = rows.select(call).schema["x"].dataType
        found = (kind.precision, kind.scale) if isinstance(kind, DecimalType) else None
        exact = None if expected.whole or not expected.precision else expected[1:3]
        assert found == exact, (left, sign, right)


def operators() -> list[str]:
    """All operators between all pairs of columns, as conditions."""
    pairs = list(itertools.product(TYPES, TYPES))
    signs = ["=", "<", "<=>", "IS DISTINCT FROM"]
    compared = [f"{x} {sign} {y}" for x, y in pairs for sign in signs]
    computed = [f"({x} {sign} {y}) IS NULL" for x, y in pairs for sign in "+-*/%"]
    nested = [f"({x} {sign} {y}) > {x}" for x, y in pairs for sign in "+-*/%"]
    chosen = [f"{name}({x}, {y}) = {x}" for x, y in pairs for name in ("coalesce", "greatest")]
    listed = [f"{x} IN ({y}, {x})" for x, y in pairs]
    signed = [f"-{x} < {x} OR abs({x}) > {x} OR round({x}, 1) = floor({x})" for x in TYPES]
    casts = [f"{kind}({x}) IS NULL" for x in TYPES for kind in TYPES.values() if "(" not in kind]
    return [*compared, *computed, *nested, *chosen, *listed, *signed, *casts]


def calls() -> list[str]:
    """Each function with each column of the kind of its arguments."""
    columns = {
        "text": ["s"],
        "number": ["a", "b", "d", "p", "q", "w"],
        "time": ["t", "day"],
        "list of texts": ["g"],
        "count": ["-5", "1000000"],
        "days": ["100000", "-100000"],
        "months": ["1000", "-1000"],
        "index": ["1", "-1000000"],
        "pattern": ["'^a+$'"],
        "unit": ["'week'"],
        "any": list(TYPES),
    }
    made = []
    for name, function in FIXED.items():
        kinds = [kind for kind in function.arguments if kind != "..."]
        choices = itertools.product(*(columns[kind] for kind in kinds))
        made += [f"{name}({', '.join(choice)}) IS NULL" for choice in choices]
    return made


def accepted(sql: str) -> str | None:
    try:
        return error_free_condition(sql, TYPES)
    except ParameterError:
        return None


def sql_of(sql: str) -> str:
    return error_free_condition(sql, TYPES)
