"""What conf says of a wrong rule, for streams, lake sources and silver tables."""

from typing import Any

import pytest
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.ingest.rules import WARNINGS, RowRule, RuleSet
from matchlake.ingest.tables import stream_table

PLACES = {
    "streams.rating_events": "user_id <> item_id",
    "lake.sources.users": "age > 17 OR occupation <> 'lawyer'",
    "silver.tables.ratings": "event_time <= kafka_timestamp",
}
WRONG = [
    ("{r: {expression: nobody > 1, action: warn}}", "rules.r: 'nobody > 1': there is no column"),
    (
        "{r: {expression: 1 > 0, action: drop}}",
        "action: unknown value; possible: fail, quarantine, warn",
    ),
    ("{r: {expression: 1 > 0}}", "rules.r.action: is required"),
    (
        "{r: {expression: rand() > 0, action: warn}}",
        "rules.r: 'rand.*calls rand, which is not an allowed",
    ),
    ("{r: {expression: 'user_id > 1', action: warn}}", "has a text and a number; cast one"),
    ("{'a b': {expression: 1 > 0, action: warn}}", "'a b' is not a valid name"),
    ("{r: {expresion: 1 > 0, action: warn}}", "expresion: unknown key, did you mean expression"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("rules", "reason"), WRONG)
def test_a_wrong_rule_is_named_with_the_reason(place: str, rules: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{place}.*{reason}"):
        load_config("demo", [f"{place}.rules={rules}"], ROOT / "conf")


@pytest.mark.parametrize("place", PLACES)
def test_rules_are_declared_in_each_place(place: str) -> None:
    rules: dict[str, Any] = {"r": {"expression": PLACES[place], "action": "fail"}}
    config: Any = load_config("demo", [f"{place}.rules={rules}"], ROOT / "conf")
    for part in place.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    assert config.rules == {"r": RowRule(expression=PLACES[place], action="fail")}


def test_the_table_has_warnings_if_a_rule_warns() -> None:
    rules = "{a: {expression: rating > 1, action: warn}}"
    for more, expected in (([], False), ([f"streams.rating_events.rules={rules}"], True)):
        config = load_config("demo", more, ROOT / "conf")
        table = stream_table(config.streams["rating_events"])
        assert (WARNINGS in table.columns) == expected


def test_rules_with_fail_come_first() -> None:
    rules = {
        name: RowRule.model_validate({"expression": f"a > {i}", "action": action})
        for i, (name, action) in enumerate([("x", "quarantine"), ("y", "warn"), ("z", "fail")])
    }
    assert RuleSet(rules, {"a": "int"}).broken_message() == (
        "CASE WHEN NOT (`a` > 2) THEN 'z: a > 2 is false'"
        " WHEN NOT (`a` > 0) THEN 'x: a > 0 is false' END"
    )
