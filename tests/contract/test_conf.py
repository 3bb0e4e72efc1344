"""conf/: every environment loads, base states every key but no data, and it holds no secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.recommender.algorithms import ALGORITHMS

CONF = ROOT / "conf"
ENVIRONMENTS = sorted(path.stem for path in CONF.glob("*.yml") if path.stem != "base")
ALGORITHM_KEYS = {f"train.{name}" for name in ALGORITHMS}
CHOICES = (*ALGORITHM_KEYS, "train.split", "train.ranking")
"""What is told by the classes themselves; base states only what it sets otherwise."""
NAMED = ("streams", "silver.tables", "lake.sources", "features.tables", "training_sets")
"""Mappings from names to entries, which the file of a data set fills."""
DATA = ("data/movielens",)
"""The files of conf that hold a data set."""
SECRET_WORDS = ("password", "secret", "token", "credential", "sasl", "private")
PUBLIC = ("kafka.sasl.mechanism", "kafka.sasl.username")
"""Keys with one of these words that hold no secret."""


def _flat(data: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _keys(path: Path) -> dict[str, Any]:
    return dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))


def test_there_are_the_five_environments() -> None:
    assert ENVIRONMENTS == ["demo", "dev", "local", "prod", "staging"]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_environment_loads_and_holds_only_differences(env: str) -> None:
    config = load_config(env, conf_dir=CONF)
    assert config.env == env
    assert (config.lakehouse is None) != (config.catalog is None)
    base, own = _keys(CONF / "base.yml"), _keys(CONF / f"{env}.yml")
    # A mapping that is empty in base, such as `spark`, is open to any key.
    open_keys = tuple(f"{key}." for key, value in base.items() if value in ({}, None))
    assert {key for key in own if key not in base and not key.startswith(open_keys)} == set()
    assert {key for key, value in own.items() if key in base and base[key] == value} == set()


def test_base_names_no_data_and_the_demo_is_movielens() -> None:
    base = _keys(CONF / "base.yml")
    assert {name: base[name] for name in NAMED} == {name: {} for name in NAMED}
    assert (base["silver.interactions"], base["profile.tables"]) == (None, [])
    assert load_config("local", conf_dir=CONF).streams == {}
    demo, prod = (load_config(env, conf_dir=CONF) for env in ("demo", "prod"))
    for own in ("streams", "silver", "profile", "train"):
        assert getattr(demo, own) == getattr(prod, own), "the example deploys the demo's data"


def _unstated(model: type[BaseModel], data: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key, kind = f"{before}{name}", field.annotation
        if name not in data:
            # An algorithm needs no key of its own: its parameters have defaults.
            yield from () if key in ALGORITHM_KEYS else (key,)
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and key not in CHOICES:
            yield from _unstated(kind, data[name], f"{key}.")


def test_base_states_every_key() -> None:
    base = yaml.safe_load((CONF / "base.yml").read_text(encoding="utf-8"))
    assert set(_unstated(JobConfig, base)) == {"env", "conf_dir"}


def test_base_states_the_defaults_of_the_code(tmp_path: Path) -> None:
    stated = load_config("local", conf_dir=CONF)
    (tmp_path / "base.yml").write_text("{}", encoding="utf-8")
    (tmp_path / "local.yml").write_text((CONF / "local.yml").read_text("utf-8"), encoding="utf-8")
    bare = load_config("local", conf_dir=tmp_path)
    assert stated.model_dump(exclude={"conf_dir"}) == bare.model_dump(exclude={"conf_dir"})


@pytest.mark.parametrize("name", ["base", *DATA, *ENVIRONMENTS])
def test_conf_holds_no_secret(name: str) -> None:
    for key, value in _keys(CONF / f"{name}.yml").items():
        parts = key.lower().removeprefix("secrets.").split(".")
        if any(word in part for part in parts for word in SECRET_WORDS):
            # A reference names a scope and a key, and nothing else of a secret is in conf.
            is_reference = parts[-1] in ("scope", "key") or key in PUBLIC
            assert is_reference or value is None or isinstance(value, bool), key
