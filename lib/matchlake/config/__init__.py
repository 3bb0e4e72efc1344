"""The configuration of a job: one class with all params classes, loaded from conf/.

`base.yml` is the lowest layer. Then come the files that `ENV.yml` names under `extends`, then
`ENV.yml` with the differences of an environment. `--set a.b=value` comes last. A later layer
replaces single keys of a mapping; it replaces lists and scalars as a whole. After that,
`${catalog}` in a value becomes the name of the catalog.

The right to start a job includes the choice of its overrides. So outside the environments `local`
and `demo` they change only keys that are marked as `Settable`: no places, identities, tables,
secrets or code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from matchlake.config.job_config import JobConfig as JobConfig
from matchlake.config.layers import (
    EXTENDS,
    Layers,
    read_environment,
    read_layers,
    without_removed,
)
from matchlake.config.problems import explain, wrong_scalars
from matchlake.errors import ConfigError
from matchlake.features.feature_set import FeatureSet
from matchlake.io.conf_folder import find_conf as find_conf
from matchlake.io.databricks import on_databricks
from matchlake.io.secrets import (
    refuse_foreign_secrets,
    refuse_redirected_secrets,
)
from matchlake.io.yaml_files import Keys, parse_value
from matchlake.params import changed_keys, is_fixed, nearest, problems_of, settable_keys

_CATALOG = "${catalog}"
LOCAL = ("local", "demo")
"""The environments of a machine of one's own, where --set may change nearly every key."""
# Mappings to text, such as `spark`: the text after the first dot of a path is one key.
_OPEN = {name for name, each in JobConfig.model_fields.items() if each.annotation == dict[str, str]}


def load_config(env: str, overrides: Sequence[str] = (), conf_dir: Path | None = None) -> JobConfig:
    """Loads the files of an environment, then the overrides; raises ConfigError."""
    folder = conf_dir or find_conf()
    layers = environment_layers(env, folder)
    merged = layers.merged
    declared = dict(merged)
    changed = tuple(_override(merged, override) for override in overrides)
    if env not in LOCAL or on_databricks():
        _refuse_fixed_keys(declared, merged, env)
    if any(keys[0] == EXTENDS for keys in changed):
        raise ConfigError(f"--set {EXTENDS}: only conf/{env}.yml names the files that it extends.")
    config = _validated(merged, layers._replace(overrides=changed), env, folder)
    refuse_foreign_secrets(declared, merged, config)
    refuse_redirected_secrets(declared, merged, config)
    return config


def _refuse_fixed_keys(declared: dict[str, Any], merged: dict[str, Any], env: str) -> None:
    """Raises ConfigError if the overrides change a key that only conf files may change.

    Unknown keys pass; the validation refuses them. A catalog that the overrides may change also
    changes the values that name it.
    """
    allowed = declared.get("allowed_overrides") or ()
    catalog = (merged if "catalog" in allowed else declared).get("catalog")
    before, after = (
        _with_catalog({**data, "catalog": catalog}) | {"catalog": data.get("catalog")}
        for data in (declared, merged)
    )
    for keys in changed_keys(before, after):
        path = ".".join(map(str, keys))
        if path in allowed or not is_fixed(JobConfig, keys):
            continue
        near = [key for key in settable_keys(JobConfig) if key.startswith(f"{keys[0]}.")]
        raise ConfigError(
            f"--set {path}: --set may change this key only in the environment "
            f"{' or '.join(LOCAL)}, on a machine of your own. In {keys[0]} it may change "
            f"{', '.join(near) or 'no key'}. Change {path} in conf/{env}.yml."
        )


def _validated(merged: Mapping[str, Any], layers: Layers, env: str, folder: Path) -> JobConfig:
    data = without_removed(_with_catalog(merged), JobConfig)
    source, problems = f"{folder}, --env {env}", dict(wrong_scalars(data, JobConfig))
    try:
        config = JobConfig.model_validate({**data, "env": env, "conf_dir": folder})
    except ValidationError as error:
        problems |= problems_of(error, JobConfig)
    if problems:
        raise ConfigError(explain(list(problems.items()), source, layers))
    return config


def load_feature_set(path: Path) -> FeatureSet:
    """A feature set declared in a YAML file of its own; raises ConfigError."""
    layers = read_layers(path)
    try:
        return FeatureSet.model_validate(layers.merged)
    except ValidationError as error:
        problems = problems_of(error, FeatureSet)
        raise ConfigError(explain(problems, str(path), layers)) from None


def environments(folder: Path) -> list[str]:
    """The environments of a conf folder, in order of their names."""
    return sorted(path.stem for path in folder.glob("*.yml") if path.stem != "base")


def environment(env: str, folder: Path) -> dict[str, Any]:
    """The merged keys of the files of an environment, not yet validated."""
    return environment_layers(env, folder).merged | {EXTENDS: []}


def environment_layers(env: str, folder: Path) -> Layers:
    """The files of an environment; raises ConfigError."""
    known = environments(folder)
    if env not in known:
        raise ConfigError(f"No environment {env!r} in {folder}{nearest(env, known, 'there is')}")
    return read_environment(folder, env)


def project_conf(script: Path, given: Path | None) -> Path | None:
    """The conf folder of a job: `given`, or None for the nearest one.

    On Databricks it is always `conf` in the project of the job's script. Otherwise the starter of
    a job could bring a conf of their own. Raises ConfigError for another one.
    """
    if not on_databricks():
        return given
    # Databricks runs a script in its folder. The text of a script may have another path there.
    folders = [start.resolve().parent / "conf" for start in (script.parent, Path.cwd())]
    own = next((each for each in folders if (each / "base.yml").is_file()), folders[0])
    if given is not None and given.resolve() != own.resolve():
        raise ConfigError(
            f"--conf-dir {given}: on Databricks a job reads the conf of its own project, {own}. "
            "Leave the option out, or deploy the other conf with the job."
        )
    return own


def _override(data: dict[str, Any], text: str) -> Keys:
    """Changes one key of the data. Returns the path of the key."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text!r} is not of the form a.b=value.")
    if keys[0] in _OPEN:
        keys = [keys[0], ".".join(keys[1:])] if keys[1:] else keys
    for key in keys[:-1]:
        child = data.get(key)
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"--set {path}: {key} is a single value, it has no keys below it.")
        data[key] = dict(child or {})
        data = data[key]
    try:
        data[keys[-1]] = _value_of(value)
    except yaml.YAMLError:
        data[keys[-1]] = value
    if keys[0] in _OPEN and isinstance(data[keys[-1]], int | float):
        data[keys[-1]] = value.strip()
    return tuple(keys)


def _value_of(value: str) -> Any:
    """The value as YAML reads it. A plain string that YAML would shorten, such as `|`, stays.

    Aliases are refused: a short text with nested ones becomes gigabytes.
    """
    if "&" in value and any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(value)):
        raise ConfigError("--set takes no YAML aliases such as *name: write the value out.")
    parsed, text = parse_value(value), value.strip()
    lost = parsed is None and text not in ("", "~", "null", "Null", "NULL")
    shortened = isinstance(parsed, str) and parsed != text and text[0] not in "'\""
    return text if lost or shortened else parsed


def _with_catalog(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with `${catalog}` replaced in every value except `catalog` itself."""
    catalog = data.get("catalog")

    def filled(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: filled(below, f"{path}.{key}") for key, below in value.items()}
        if isinstance(value, list):
            return [filled(below, path) for below in value]
        if not isinstance(value, str) or _CATALOG not in value:
            return value
        if not isinstance(catalog, str) or _CATALOG in catalog:
            raise ConfigError(f"{path[1:]} uses {_CATALOG}, but `catalog` is not set in conf.")
        return value.replace(_CATALOG, catalog)

    return {key: filled(value, f".{key}") for key, value in data.items()}
