"""Every table declares the columns that hold a person."""

import re

import pytest
import yaml
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.lakehouse.table_registry import declared_tables

CONF = ROOT / "conf"
PERSON = re.compile(r"(^|_)(user|customer|patient|person|member)(_id)?$")


def test_declared_tables_list_each_column_that_is_named_for_a_person() -> None:
    found = {
        spec.name: [c.name for c in spec.columns if PERSON.search(c.name)]
        for spec in declared_tables(load_config("prod", conf_dir=CONF)).values()
    }
    declared = declared_tables(load_config("prod", conf_dir=CONF))
    assert {n: c for n, c in found.items() if set(c) - set(declared[n].user_columns)} == {}
    assert set(declared["gold.related_users"].user_columns) == {"user_id", "related_user_id"}


def test_conf_states_the_user_columns_of_each_table() -> None:
    base = yaml.safe_load((CONF / "data" / "movielens.yml").read_text("utf-8"))
    entries = {
        **base["streams"],
        **base["lake"]["sources"],
        **{f"features.{name}": each for name, each in base["features"]["tables"].items()},
    }
    assert len(entries) >= 5
    assert [name for name, each in entries.items() if "user_columns" not in each] == []


@pytest.mark.parametrize(
    "key",
    [
        "streams.rating_events.user_columns",
        "lake.sources.users.user_columns",
        "features.tables.users.user_columns",
    ],
)
def test_user_columns_must_be_columns(key: str) -> None:
    with pytest.raises(ConfigError, match="user_columns: member is not a column; there are"):
        load_config("demo", [f"{key}=[member]"], CONF)
