"""Grants and tags: every statement is of a known form and names existing tables."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.grants import apply_rules, check_rules, read_rules
from matchlake.lakehouse.job_order import jobs_before
from matchlake.lakehouse.table_registry import declared_tables

RULES = ROOT / "conf" / "grants.sql"
PERSONAL = {
    *("user_id", "related_user_id", "age", "gender", "occupation", "zip_code"),
    *("raw", "row_text", "_error_message"),
}
CONFIG = load_config("prod", conf_dir=ROOT / "conf")


def test_every_personal_column_is_tagged() -> None:
    tagged = {(rule.table, rule.column) for rule in read_rules(RULES) if "pii" in (rule.tags or "")}
    columns = {name: spec.column_names for name, spec in declared_tables(CONFIG).items()}
    columns |= {each.table: each.features.keys for each in CONFIG.features.tables.values()}
    there = {(name, column) for name in columns for column in columns[name] if column in PERSONAL}
    assert there == tagged


def test_every_table_with_a_personal_column_is_tagged_as_a_whole() -> None:
    rules = [rule for rule in read_rules(RULES) if rule.tags]
    personal = {rule.table for rule in rules if rule.column is None}
    assert personal == {rule.table for rule in rules if rule.column}


def test_every_table_of_a_statement_is_written_by_a_job() -> None:
    tables = {rule.table for rule in read_rules(RULES) if rule.table}
    assert {table for table in tables if not jobs_before(CONFIG, table)} == set()


def lakehouse(catalog: str) -> Mock:
    """A lakehouse that has only `bronze.users`."""
    lake = Mock(spec=Lakehouse, catalog=catalog, spark=Mock())
    lake.exists.side_effect = lambda name: name == "bronze.users"
    lake.read.return_value.columns = ["user_id", "age", "gender", "occupation", "zip_code"]
    return lake


def test_existing_tables_get_grants_and_missing_ones_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lake = lakehouse("matchlake_dev")
    apply_rules(lake, RULES)
    done = [call.args[0] for call in lake.spark.sql.call_args_list]
    assert "ALTER TABLE bronze.users ALTER COLUMN age SET TAGS ('pii' = 'age')" in done
    assert "GRANT USE SCHEMA ON SCHEMA gold TO `analysts`" in done
    assert {text for text in done if "TABLE" in text and "bronze.users" not in text} == set()
    (message,) = [text for text in caplog.messages if "do not exist yet" in text]
    assert "gold.recommendations, " in message
    assert "bronze.users" not in message


def test_on_a_local_machine_nothing_is_executed() -> None:
    lake = lakehouse("spark_catalog")
    apply_rules(lake, RULES)
    lake.spark.sql.assert_not_called()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DROP TABLE gold.recommendations;", "rules.sql:2: this is neither a grant nor a tag"),
        ("GRANT SELEKT ON TABLE bronze.users TO `a`;", "SELEKT is not a privilege"),
        (
            "ALTER TABLE bronze.users ALTER COLUMN zip SET TAGS ('pii' = 'x');",
            "bronze.users has no column zip; it has user_id, age",
        ),
        ("GRANT SELECT ON TABLE bronze.users TO `a`; DROP TABLE x", "neither a grant nor a tag"),
    ],
)
def test_a_wrong_statement_is_named_at_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.sql"
    path.write_text(f"-- a comment\n{text}\n")
    tables = {"bronze.users": ["user_id", "age"]}
    with pytest.raises(ConfigError, match=said):
        check_rules(path, tables.get)


def test_right_statements_are_read_and_missing_tables_named(tmp_path: Path) -> None:
    path = tmp_path / "rules.sql"
    path.write_text("""GRANT SELECT, MODIFY ON TABLE bronze.users -- first
            TO `data engineers`;
        GRANT SELECT ON TABLE bronze.items TO `a`;
        REVOKE USE SCHEMA ON SCHEMA bronze FROM `a`;
        ALTER TABLE bronze.users SET TAGS ('a' = 'b', 'c' = '');""")
    rules, missing = check_rules(path, {"bronze.users": ["user_id"]}.get)
    assert (len(rules), missing) == (3, ["bronze.items"])
