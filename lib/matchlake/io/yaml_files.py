"""Reads YAML files of conf, with the line of each key.

Plain values are read by the core schema of YAML 1.2. PyYAML follows YAML 1.1, which changes values
silently: `no` becomes false, `010` becomes 8, `12:30` becomes 750, `2024-05-01` a date. Here
they are strings.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from matchlake.errors import ConfigError

Keys = tuple[str, ...]
"""The path of a value: keys of mappings, and positions in lists as text."""


class YamlFile(NamedTuple):
    """A file with its content."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Keys, int]
    """The line of each key and each list entry, from 1."""


class CoreLoader(yaml.SafeLoader):
    """Reads plain values by the core schema of YAML 1.2."""


_NULL = "tag:yaml.org,2002:null"
_NUMBER = r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?(?<=[0-9.])(?<!^\.)([eE][-+]?[0-9]+)?"
_CORE = (
    ("tag:yaml.org,2002:merge", r"<<", "<"),
    (_NULL, r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        _NUMBER + r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _CORE:
    CoreLoader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [*_first, ""])


def _float(loader: CoreLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _int(loader: CoreLoader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)
CoreLoader.add_constructor("tag:yaml.org,2002:int", _int)


def read_yaml(path: Path) -> YamlFile:
    """The mapping of a file; raises ConfigError, with the line, if it has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start} is wrong.") from None
    try:
        loader = CoreLoader(text)
        root = loader.get_single_node()
        places = list(_lines(root, ())) if root else []  # Merge keys are still as written.
        data = (loader.construct_document(root) if root else None) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, not a {type(data).__name__}.")
    lines: dict[Keys, int] = {}
    for keys, line in places:
        if keys in lines:
            raise ConfigError(
                f"{path}:{line}: {'.'.join(keys)} is set twice; first in line {lines[keys]}. "
                "Keep one of them."
            )
        lines[keys] = line
    return YamlFile(path, data, lines)


def parse_value(text: str) -> Any:
    """The value of a text on a command line; raises yaml.YAMLError."""
    return yaml.load(text, CoreLoader)  # noqa: S506 - a safe loader


def _lines(node: yaml.Node, path: Keys) -> Iterator[tuple[Keys, int]]:
    """The lines of all keys below a node; an alias has those of its anchor."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            keys = (*path, str(key.value))
            yield keys, key.start_mark.line + 1
            yield from _lines(value, keys)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            keys = (*path, str(at))
            yield keys, value.start_mark.line + 1
            yield from _lines(value, keys)
