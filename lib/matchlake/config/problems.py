"""Explains why conf is not valid: one line per problem, with file and line, never the value."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from matchlake.config.layers import Layers
from matchlake.params import Problem

_SCALARS = {
    str: "text: put it into quotes",
    bool: "true or false",
    int: "an integer, without quotes and leading zeros",
    float: "a number, without quotes and leading zeros",
    type(None): "",
}
"""The types of single values, and what an error calls them."""


def wrong_scalars(data: Any, kind: Any, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Texts where a number is declared, numbers where true or false is, and the like.

    pydantic would convert them. So `rank: yes` would be 1, and `010` would be 10.
    """
    kinds = list(_parts(kind))
    if isinstance(data, Mapping):
        entries = [typing.get_args(each)[1] for each in kinds if typing.get_origin(each) is dict]
        for name, value in data.items():
            fields = [each.model_fields.get(name) for each in kinds if _is_model(each)]
            inner = [*entries, *(field.annotation for field in fields if field)]
            if inner:
                yield from wrong_scalars(value, typing.Union[tuple(inner)], (*path, name))  # noqa: UP007 - of a list
    elif isinstance(data, list):
        inner = [typing.get_args(each)[0] for each in kinds if typing.get_origin(each) is tuple]
        for at, value in enumerate(data if inner else ()):
            yield from wrong_scalars(value, typing.Union[tuple(inner)], (*path, str(at)))  # noqa: UP007 - of a list
    elif data is not None and kinds and all(each in _SCALARS for each in kinds):
        accepted = {*kinds, *([int] if float in kinds else [])}
        is_whole = isinstance(data, float) and data.is_integer() and int in kinds
        if type(data) not in accepted and not is_whole:
            words = [_SCALARS[each] for each in kinds if _SCALARS[each]]
            yield path, f"must be {' or '.join(words)}"


def _parts(kind: Any) -> Iterator[Any]:
    """The types of a union, or the type itself."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for part in typing.get_args(kind):
            yield from _parts(part)
    elif typing.get_origin(kind) is typing.Annotated:
        yield from _parts(typing.get_args(kind)[0])
    else:
        yield kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def explain(problems: Sequence[Problem], source: str, layers: Layers) -> str:
    """One line per problem, with file and line, in the order of the files."""
    placed = [(layers.place(keys) or source, keys, text) for keys, text in problems]
    placed.sort(key=lambda each: [part.zfill(9) for part in each[0].split(":")])
    lines = [f"\n  {place}: {'.'.join(map(str, keys))}: {text}" for place, keys, text in placed]
    return f"{len(lines)} problem(s) in {source}:" + "".join(lines)
