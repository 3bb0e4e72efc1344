"""The files of an environment: merged, with the place of each key."""

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from matchlake.errors import ConfigError
from matchlake.io.storage import check_below
from matchlake.io.yaml_files import Keys, YamlFile, read_yaml
from matchlake.params import Params

EXTENDS = "extends"
"""The key with the files that the file of an environment builds on."""


class Layers(NamedTuple):
    """The files of an environment; each replaces single keys of the files before it."""

    files: tuple[YamlFile, ...]
    overrides: tuple[Keys, ...] = ()
    """The keys that --set has changed."""

    @property
    def merged(self) -> dict[str, Any]:
        """The keys of all files."""
        merged: dict[str, Any] = {}
        for file in self.files:
            merged = _merge(merged, file.data)
        return merged

    def place(self, keys: Sequence[int | str]) -> str | None:
        """Where the value of a key comes from: `FILE:LINE`, or `--set`; None: no file has it.

        A key that no file has counts as the nearest key above it. Parts that are no keys, such as
        the kind of a feature, are skipped.
        """
        known: Keys = ()
        for part in map(str, keys):
            deeper = (*known, part)
            if any(deeper in file.lines for file in self.files):
                known = deeper
        path = tuple(map(str, keys))
        if any(path[: len(each)] == each or each == path[: len(each)] for each in self.overrides):
            return "--set"
        return self.exact_place(known)

    def exact_place(self, keys: Keys) -> str | None:
        """`FILE:LINE` of a key in the last file that has it; None: no file has it."""
        for file in reversed(self.files):
            if keys in file.lines:
                return f"{file.path}:{file.lines[keys]}"
        return None


def read_layers(*files: Path) -> Layers:
    """Reads the files, the lowest layer first; raises ConfigError."""
    return Layers(tuple(map(read_yaml, files)))


def read_environment(folder: Path, env: str) -> Layers:
    """Reads base.yml, the files that ENV.yml extends, and ENV.yml; raises ConfigError."""
    base, own = read_yaml(folder / "base.yml"), read_yaml(folder / f"{env}.yml")
    shared = [read_yaml(folder / name) for name in _extended(own)]
    for file in (base, *shared):
        if file.data.get(EXTENDS):
            raise ConfigError(
                f"{file.path}:{file.lines[EXTENDS,]}: {EXTENDS}: only the file of an environment "
                f"extends other files. Write the names into {own.path}."
            )
    return Layers((base, *shared, own))


def _extended(own: YamlFile) -> list[str]:
    """The names of the files that the file of an environment extends."""
    names = own.data.get(EXTENDS) or []
    place = f"{own.path}:{own.lines.get((EXTENDS,), 0)}: {EXTENDS}"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{place}: must be a list of files, such as [local.yml]")
    for name in names:
        try:
            check_below(name)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
        if not (own.path.parent / name).is_file():
            raise ConfigError(f"{place}: there is no file {name} in {own.path.parent}")
    return names


def without_removed(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The data without entries that are null in a mapping of names, such as `streams`.

    So an environment removes a stream, a source or a table of `base.yml`.
    """
    kept = dict(data)
    for name, field in model.model_fields.items():
        value, kind = kept.get(name), field.annotation
        if not isinstance(value, dict):
            continue
        entry = _entry(kind)
        if entry is not None:
            kept[name] = {
                key: without_removed(below, entry) if isinstance(below, dict) else below
                for key, below in value.items()
                if below is not None
            }
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            kept[name] = without_removed(value, kind)
    return kept


def _entry(kind: Any) -> type[BaseModel] | None:
    """The class of the entries, if the type is a mapping of names to parameters."""
    if typing.get_origin(kind) is not dict:
        return None
    entry = typing.get_args(kind)[1]
    return entry if isinstance(entry, type) and issubclass(entry, Params) else None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
