"""Grants and tags: every statement is of a known form and speaks of what there is."""

from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.bundle.governance import check_rules, read_rules
from matchlake.config import load_config
from matchlake.errors import BundleError
from matchlake.ingest.tables import lake_table, stream_table

RULES = ROOT / "conf" / "governance.sql"


def test_every_personal_column_of_bronze_is_tagged() -> None:
    config = load_config("prod", conf_dir=ROOT / "conf")
    tagged = {(rule.table, rule.column) for rule in read_rules(RULES) if "pii" in (rule.tags or "")}
    specs = [stream_table(stream) for stream in config.streams.values()]
    specs += [lake_table(source) for source in config.lake.sources.values()]
    personal = {"user_id", "age", "gender", "occupation", "zip_code", "raw_key", "raw_value"}
    there = {(spec.name, name) for spec in specs for name in spec.column_names if name in personal}
    assert there <= tagged


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DROP TABLE gold.recommendations;", "rules.sql:2: no grant, no tag"),
        ("GRANT SELEKT ON TABLE bronze.users TO `a`;", "SELEKT is no privilege"),
        (
            "GRANT SELECT ON TABLE bronze.people TO `a`;",
            "rules.sql:2: there is no table bronze.peo",
        ),
        (
            "ALTER TABLE bronze.users ALTER COLUMN zip SET TAGS ('pii' = 'x');",
            "bronze.users has no column zip; it has user_id, age",
        ),
        ("GRANT SELECT ON TABLE bronze.users TO `a`; DROP TABLE x", "no grant, no tag"),
    ],
)
def test_a_wrong_statement_is_named_at_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.sql"
    path.write_text(f"-- a comment\n{text}\n")
    tables = {"bronze.users": ["user_id", "age"]}
    with pytest.raises(BundleError, match=said):
        check_rules(path, tables.get)


def test_right_statements_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rules.sql"
    path.write_text("""USE CATALOG IDENTIFIER(:catalog); -- first
        GRANT SELECT, MODIFY ON TABLE bronze.users
            TO `data engineers`;
        REVOKE USE SCHEMA ON SCHEMA bronze FROM `a`;
        ALTER TABLE bronze.users SET TAGS ('a' = 'b', 'c' = '');""")
    assert check_rules(path, {"bronze.users": ["user_id"]}.get) == 4
