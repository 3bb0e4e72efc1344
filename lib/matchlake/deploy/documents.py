"""Reads the files of a deployment, and finds the line of every key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Place = tuple[str | int, ...]
"""The path of a value in an object: keys and positions."""


class Mistake(NamedTuple):
    """A mistake, with its file and line."""

    file: str
    line: int
    place: str
    text: str

    def __str__(self) -> str:
        where = f" {self.place}" if self.place else ""
        return f"{self.file}:{self.line}:{where} {self.text}"


class Document(NamedTuple):
    """One object of a file."""

    file: str
    data: dict[str, Any]
    node: yaml.Node

    def mistake(self, text: str, *place: str | int) -> Mistake:
        """Makes a mistake at `place`; its line is that of the nearest key that exists."""
        node, line = self.node, self.node.start_mark.line + 1
        for key in place:
            found = _below(node, key)
            if found is None:
                break
            node, line = found
        return Mistake(self.file, line, ".".join(map(str, place)), text)

    def get(self, *place: str | int) -> Any:
        """Returns the value at `place`, or None."""
        value: Any = self.data
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def shaped(document: Document, mistakes: Iterator[Mistake]) -> Iterator[Mistake]:
    """Yields the mistakes of the rules, and one if a value has a wrong type."""
    try:
        yield from mistakes
    except (AttributeError, KeyError, TypeError, ValueError):
        text = "cannot be checked: a value here, or in an object it names, has a wrong type"
        yield Mistake(document.file, document.node.start_mark.line + 1, "", text)


def _documents(text: str) -> Iterator[tuple[yaml.Node, list[tuple[str, int]], Any]]:
    """Each document of a text: its nodes, the keys given twice with their lines, its value."""
    loader = yaml.SafeLoader(text)
    while loader.check_node():
        node: Any = loader.get_node()
        twice = list(_twice(node))  # Before merge keys are filled in, by construction.
        yield node, twice, loader.construct_document(node)


def read_documents(folder: Path) -> Iterator[Document | Mistake]:
    """Yields the objects of all YAML and JSON files below a folder; mistakes if unreadable."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
            continue
        file = path.relative_to(folder).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                json.loads(text)
            read = list(_documents(text))
        except json.JSONDecodeError as error:
            yield Mistake(file, error.lineno, "", f"is not valid JSON: {error.msg}")
            continue
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            yield Mistake(file, mark.line + 1 if mark else 1, "", f"cannot be read: {error}")
            continue
        for node, twice, each in read:
            if not isinstance(each, dict):
                yield Mistake(file, 1, "", "must hold a mapping")
            else:
                yield from (Mistake(file, line, key, "is given twice") for key, line in twice)
                yield Document(file, each, node)


def _below(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return value, name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        value = node.value[key]
        return value, value.start_mark.line + 1
    return None


def _twice(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Yields the keys that a mapping has twice: YAML would keep only the second value."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for name, value in node.value:
            if name.value in seen:
                yield name.value, name.start_mark.line + 1
            seen.add(name.value)
            yield from _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _twice(value)
