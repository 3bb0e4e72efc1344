"""What Spark's redaction keeps out of plans, in the JVM that applies it."""

import pytest
from pyspark.sql import SparkSession

from matchlake.runtime import _REDACTION

PATTERN = _REDACTION["spark.sql.redaction.string.regex"]
LONG = 100_000
LOGINS = {
    "short": 'username="u" password="hunter2";',
    "escaped quotes": r'username="u" password="hun\"hunter2\\";',
    "many escapes": 'username="u" password="' + r"\"hunter2" * LONG + '";',
    "long": 'username="u" password="' + "hunter2" * LONG + '";',
    "cut off": 'username="u" clientSecret="hunter2' + "x" * LONG,
    "cut off in an escape": 'username="u" clientSecret="hunter2\\',
    "a line break": 'username="u" password="hunter2\\\nhunter2" more',
}


@pytest.mark.local_only
@pytest.mark.parametrize("name", LOGINS)
def test_a_login_of_any_length_is_redacted(spark: SparkSession, name: str) -> None:
    pattern = spark._jvm.java.util.regex.Pattern.compile(PATTERN)
    found = pattern.matcher(LOGINS[name]).replaceAll("*")
    assert "hunter2" not in found
    assert found.startswith('username="u" *')


@pytest.mark.local_only
def test_a_plan_with_a_long_login_is_shown_without_it(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "spark.sql.redaction.string.regex"
    spark.conf.set(key, PATTERN)
    try:
        text = 'password="' + "hunter2" * 10_000 + '"'
        spark.range(1).selectExpr(f"concat('{text}', id) AS c").explain()
    finally:
        spark.conf.unset(key)
    shown = capsys.readouterr().out
    assert "Physical Plan" in shown
    assert "hunter2" not in shown
