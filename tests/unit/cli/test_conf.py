"""The commands of `matchlake conf`: every key is listed, and every value has its place."""

import json
from pathlib import Path

import pytest
import yaml
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.conf import conf_app
from matchlake.config import JobConfig
from matchlake.config.keys import conf_keys, conf_schema
from matchlake.errors import ConfigError

CONF = ROOT / "conf"


def output(*arguments: str) -> str:
    result = CliRunner().invoke(conf_app, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_check_names_valid_environments_and_exits_with_1_otherwise(tmp_path: Path) -> None:
    assert output("check", "--conf-dir", str(CONF)).splitlines()[:2] == [
        "demo: valid",
        "dev: valid",
    ]
    (tmp_path / "base.yml").write_text("checkpoints: here\n")
    (tmp_path / "dev.yml").write_text("{}")
    (tmp_path / "prod.yml").write_text("lakhouse: x")
    result = CliRunner().invoke(conf_app, ["check", "--conf-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "dev: valid" in result.output
    assert "prod.yml:1: lakhouse: unknown key, did you mean lakehouse?" in result.output


def test_check_shows_a_problem_of_several_environments_once(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("checkpoints: here\ntrian: {}\n")
    (tmp_path / "dev.yml").write_text("{}")
    (tmp_path / "prod.yml").write_text("lakhouse: x")
    result = CliRunner().invoke(conf_app, ["check", "--conf-dir", str(tmp_path)])
    assert result.output.count("base.yml:2: trian: unknown key, did you mean train?") == 1
    assert "dev, prod: 1 problem(s)\n" in result.output
    assert "prod: 1 problem(s)\n" in result.output


@pytest.mark.parametrize(
    ("arguments", "place", "value"),
    [
        (["kafka.timeout_seconds"], "base.yml:", 5.0),
        (["streams.rating_events.topic", "--env", "demo"], "movielens.yml:", "rating-events"),
        (["train.als.seed"], "the default", 0),
        (["train.als.seed", "--set", "train.als.seed=3"], "--set train.als.seed", 3),
        (["train.als.seed", "--set", "train.als={seed: 4}"], "--set train.als", 4),
    ],
)
def test_show_prints_the_value_and_its_place(
    arguments: list[str], place: str, value: object
) -> None:
    first, *rest = output("show", *arguments, "--conf-dir", str(CONF)).splitlines()
    assert place in first
    assert yaml.safe_load("\n".join(rest)) == value


def test_show_of_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"No key 'topc' in .*, did you mean topic"):
        CliRunner().invoke(
            conf_app,
            ["show", "streams.rating_events.topc", "--env", "demo", "--conf-dir", str(CONF)],
            catch_exceptions=False,
        )


def test_keys_lists_every_field_with_a_sentence() -> None:
    found = {each.path: each for each in conf_keys()}
    assert {path for path in found if "." not in path} == (
        JobConfig.model_fields.keys() - {"env", "conf_dir"}
    )
    assert "streams.NAME.columns.NAME.type" in found
    assert found["train.als.rank"].kind == "integer"
    assert found["train.als.rank"].settable
    assert not found["kafka.bootstrap_servers"].settable
    assert "streams.NAME.limits.max_depth: integer, default 100" in output("keys", "streams")


def test_schema_requires_no_key_and_takes_null_for_an_entry() -> None:
    schema = conf_schema()
    assert '"required"' not in json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert "env" not in schema["properties"]
    entries = schema["properties"]["streams"]["additionalProperties"]["anyOf"]
    assert {"type": "null"} in entries
    rank = schema["$defs"]["AlsParams"]["properties"]["rank"]
    assert (rank["type"], rank["minimum"]) == ("integer", 1)


def test_schema_file_is_that_of_the_code() -> None:
    """`matchlake conf schema conf/schema.json` writes it again."""
    assert json.loads((CONF / "schema.json").read_text()) == conf_schema()
    for path in CONF.glob("*.yml"):
        first = path.read_text().splitlines()[0]
        assert first == "# yaml-language-server: $schema=schema.json", path.name
