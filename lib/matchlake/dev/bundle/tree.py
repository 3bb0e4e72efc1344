"""YAML as a tree with the line of each key, and problems that name it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from matchlake.errors import BundleError

Path_ = tuple[str | int, ...]
"""Keys and list indices from the top of the tree down to one value."""


class Keyed(dict[str, Any]):
    """A mapping of a YAML file; `lines` has the line of each key."""

    def __init__(self, file: str = "", lines: dict[str, int] | None = None) -> None:
        super().__init__()
        self.file = file
        self.lines = lines or {}

    def like(self, items: dict[str, Any]) -> "Keyed":
        """A mapping of `items` with the file and lines of this one."""
        made = Keyed(self.file, dict(self.lines))
        made.update(items)
        return made


@dataclass(frozen=True, order=True)
class Problem:
    """A problem, with file, line and path of its key."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}: {self.text}" if self.path else f"{where}: {self.text}"


class _Loader(yaml.SafeLoader):
    """Keeps lines, and refuses a repeated key; YAML would silently take the last."""

    def keyed(self, node: yaml.MappingNode) -> Iterator[Keyed]:
        """Constructs a mapping in two steps, as PyYAML does, so that anchors can refer to it."""
        own = [str(key.value) for key, _ in node.value if key.value != "<<"]
        twice = {key for key in own if own.count(key) > 1}
        if twice:
            at = node.start_mark
            raise BundleError(
                f"{at.name}:{at.line + 1}: one mapping repeats {', '.join(sorted(twice))}."
            )
        data = Keyed(node.start_mark.name)
        yield data
        data.update({str(key): value for key, value in self.construct_mapping(node).items()})
        data.lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.keyed)


def read_yaml(root: Path, path: Path) -> Keyed:
    """The file `path`, named relative to `root`; raises BundleError unless it is a mapping."""
    loader = _Loader(path.read_text(encoding="utf-8"))
    loader.name = str(path.relative_to(root))
    try:
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        raise BundleError(f"{loader.name} is not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if not isinstance(data, Keyed):
        raise BundleError(f"{loader.name} must be a mapping.")
    return data


def problem(tree: Keyed, path: Path_, text: str) -> Problem:
    """A problem with the value at `path` of `tree`, with the line of the nearest key."""
    file, line, value = tree.file, 0, tree
    for part in path:
        if isinstance(value, Keyed):
            file = value.file or file
            line = value.lines.get(str(part), line)
        try:
            value = value[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
    return Problem(file, line, dotted(path), text)


def dotted(path: Path_) -> str:
    """The path as text: `resources.jobs.train.tasks[0].task_key`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every scalar below `value` with its path."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    elif isinstance(value, list):
        for at, below in enumerate(value):
            yield from leaves(below, (*path, at))
    else:
        yield path, value


def merge(base: Any, over: Any, keys: Sequence[str] = ("task_key", "job_cluster_key")) -> Any:
    """Merges `over` into `base`: mappings key by key, lists of named items by name.

    Other lists are joined, as the Databricks CLI does.
    """
    if isinstance(base, Keyed) and isinstance(over, Keyed):
        merged = base.like(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value) if key in base else value
            merged.lines[key] = merged.lines.get(key) or over.lines.get(key, 0)
        return merged
    if isinstance(base, list) and isinstance(over, list):
        name = next((key for key in keys if all(key in item for item in (*base, *over))), None)
        if name is None:
            return [*base, *over]
        named = {item[name]: item for item in base}
        for item in over:
            named[item[name]] = merge(named[item[name]], item) if item[name] in named else item
        return list(named.values())
    return over
