"""Reads the files of a deployment, and finds the line of every key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Place = tuple[str | int, ...]
"""The keys and positions that lead to a value."""


class Mistake(NamedTuple):
    """What is wrong, with file and line."""

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
        """A mistake at a place; the nearest key that exists has the line."""
        node, line = self.node, self.node.start_mark.line + 1
        for key in place:
            found = _below(node, key)
            if found is None:
                break
            node, line = found
        return Mistake(self.file, line, ".".join(map(str, place)), text)

    def get(self, *place: str | int) -> Any:
        """The value at a place; None without it."""
        value: Any = self.data
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def shaped(document: Document, mistakes: Iterator[Mistake]) -> Iterator[Mistake]:
    """The mistakes that rules find; one more if a value is, say, a text in place of a list."""
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
    """The objects of all YAML and JSON files below a folder, or why a file cannot be read."""
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
            yield Mistake(file, error.lineno, "", f"is no JSON: {error.msg}")
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
    """Keys that a mapping has twice: the second one would silently win."""
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
