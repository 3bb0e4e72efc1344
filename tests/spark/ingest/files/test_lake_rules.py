"""The rules of a lake source: warned, quarantined and refused rows, and their counts."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.streams import runtime_in

from matchlake.errors import InputError
from matchlake.ingest.files.lake_rules import with_rules
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.row_rules import rule_counts
from matchlake.io.salt import Salt
from matchlake.lakehouse.user_erasure import remember_user
from matchlake.runtime import Runtime

SALT = Salt(b"a long random value")
run = runpy.run_path("jobs/load_lake.py")["run"]
COLUMNS = {
    "account": {"type": "string", "comment": "a"},
    "balance": {"type": "decimal(10,2)", "required": False, "comment": "b"},
    "credit": {"type": "int", "required": False, "comment": "c"},
}
QUARANTINE = {"expression": "balance >= -credit", "action": "quarantine"}
WARN = {"expression": "balance / credit < 2", "action": "warn"}


def entry(schema: str, **rules: dict[str, str]) -> dict[str, Any]:
    return {
        "path": "accounts*.csv",
        "format": "csv",
        "table": f"{schema}.accounts",
        "comment": "a",
        "keys": ["account"],
        "columns": COLUMNS,
        "rules": rules,
    }


def lake(spark: SparkSession, folder: Path, **rules: dict[str, str]) -> Runtime:
    schema = folder.name.replace("-", "_")
    source = entry(schema, **rules)
    names = {"quarantine": f"{schema}.quarantine", "file_log": f"{schema}.files"}
    return runtime_in(spark, folder, lake={"sources": {"accounts": source}, **names})


def rows(at: Runtime, table: str, *columns: str) -> list[tuple[Any, ...]]:
    found = at.lakehouse.read(table).select(*columns).collect()
    return sorted(map(tuple, found), key=str)


def test_parsed_rows_that_break_a_rule_become_quarantined(spark: SparkSession) -> None:
    source = LakeSource.model_validate(entry("x", covered=QUARANTINE, usual=WARN))
    parsed = spark.sql("""
        SELECT account, CAST(balance AS DECIMAL(10,2)) AS balance, CAST(credit AS INT) AS credit,
               status AS _status, code AS _error_code, code AS _error_message, 'text' AS row_text
        FROM VALUES ('a', 5, 10, 'valid', null), ('b', -11, 10, 'valid', null),
            ('c', 50, 10, 'valid', null), ('d', 7, 0, 'valid', null),
            (null, null, null, 'quarantined', 'null_field')
            AS t(account, balance, credit, status, code)
    """)
    rows = with_rules(parsed, source, None).orderBy("_error_code", "account")
    names = ("account", "_status", "_error_code", "_error_message", "row_text", "_warnings")
    assert list(map(tuple, rows.select(*names).collect())) == [
        ("a", "valid", None, None, "text", None),
        ("c", "valid", None, None, "text", ["usual"]),
        ("d", "valid", None, None, "text", None),
        (None, "quarantined", "broken_rule", "covered: balance >= -credit is false", "text", None),
        (None, "quarantined", "null_field", "null_field", "text", None),
    ]
    assert rule_counts(rows, ["row_text"]) == {
        ("text",): [("covered", "quarantine", 1), ("usual", "warn", 1)]
    }


@pytest.mark.soak
def test_rows_that_break_a_rule_are_quarantined_warned_of_or_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "lake" / "accounts.csv"
    file.parent.mkdir()
    file.write_text("account,balance,credit\na,5,10\nb,-11,10\nc,50,10\nd,7,0\ne,,3\nc,51,10\n")
    before = lake(spark, tmp_path)
    lakehouse, params = before.lakehouse, before.config.lake
    table = params.sources["accounts"].table
    run(before)
    assert len(rows(before, table, "account")) == 5

    # New rules load the file again. A division by zero is null, and passes.
    ruled = lake(spark, tmp_path, covered=QUARANTINE, usual=WARN)
    run(ruled)
    found = rows(ruled, table, "account", "_warnings")
    assert found == [("a", None), ("b", None), ("c", ["usual"]), ("d", None), ("e", None)]
    codes = rows(ruled, params.quarantine, "row_text", "_error_code", "_error_message")
    assert codes == [("b,-11,10", "broken_rule", "covered: balance >= -credit is false")]
    ((counts,),) = rows(ruled, params.file_log, "rules")
    assert sorted(map(tuple, counts)) == [("covered", "quarantine", 1), ("usual", "warn", 2)]

    failing = lake(spark, tmp_path, covered=QUARANTINE | {"action": "fail"})
    version = lakehouse.version(table)
    with pytest.raises(InputError, match=r"1 row.s. break rule covered, balance >= -cred"):
        run(failing)
    assert lakehouse.version(table) == version


@pytest.mark.soak
def test_the_quarantine_does_not_show_a_row_of_an_erased_user(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The file still holds the row, and each load reads it again."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "accounts.csv").write_text(
        "account,balance,credit\ngone,much,10\nhere,much,10\ngone,1,2\n"
    )
    at = lake(spark, tmp_path)
    source = at.config.lake.sources["accounts"].model_copy(update={"user_columns": ("account",)})
    params = at.config.lake.model_copy(update={"sources": {"accounts": source}})
    lakehouse = replace(at.lakehouse, salt=lambda: SALT)
    remember_user(lakehouse, SALT, "gone")
    config = at.config.model_copy(update={"lake": params})
    run(replace(at, config=config, lakehouse=lakehouse))
    assert rows(at, source.table, "account") == []
    codes = rows(at, params.quarantine, "row_text", "_error_code", "_error_message")
    assert codes == [
        ("here,much,10", "wrong_type", "balance: 'much' is not a valid decimal(10,2)"),
        (None, "wrong_type", "the row names an erased user"),
    ]
    assert rows(at, params.file_log, "rows", "valid", "quarantined") == [(3, 1, 2)]
