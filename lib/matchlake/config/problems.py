"""Explains why conf is not valid: one line per problem, with file and line, never the value."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from matchlake.config.layers import Layers

_TEXTS = {
    "missing": "is required, and no file of conf sets it",
    "string_type": "must be text: put it into quotes",
    "int_type": "must be a whole number, without quotes and leading zeros",
    "int_parsing": "must be a whole number, without quotes and leading zeros",
    "int_from_float": "must be a whole number, without quotes and leading zeros",
    "float_type": "must be a number, without quotes and leading zeros",
    "float_parsing": "must be a number, without quotes and leading zeros",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping: keys with values below it",
    "model_type": "must be a mapping: keys with values below it",
    "model_attributes_type": "must be a mapping: keys with values below it",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "too_short": "must have at least {min_length} entry",
    "string_too_short": "must have at least {min_length} character",
    "string_pattern_mismatch": "must match the pattern {pattern}",
}
"""The texts of pydantic's errors in the words of conf."""
_SCALARS = {
    str: "text: put it into quotes",
    bool: "true or false",
    int: "a whole number, without quotes and leading zeros",
    float: "a number, without quotes and leading zeros",
    type(None): "",
}
"""The types of single values, and what an error calls them."""


_PATH = re.compile(r"([a-z_]+(?:\.[\w-]+)+): ")
Problem = tuple[tuple[str, ...], str]
"""The path of a key, and what is wrong with its value."""


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems, with the nearest known name for an unknown one; never the value."""
    return [_problem(each, model) for each in error.errors(include_url=False)]


def _problem(found: Any, model: type[BaseModel]) -> Problem:
    """The problem; a check of the whole conf begins its text with the path of the key."""
    path, text = tuple(map(str, found["loc"])), _text(found, model)
    named = None if path else _PATH.match(text)
    return (tuple(named[1].split(".")), text[named.end() :]) if named else (path, text)


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


def _text(problem: Any, model: type[BaseModel]) -> str:
    context: Mapping[str, Any] = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            *above, name = problem["loc"]
            text = "unknown key" + nearest(str(name), _keys_at(model, above), "known here")
        case "literal_error":
            expected = _quoted(context["expected"])
            text = "unknown value" + nearest(str(problem["input"]), expected, "possible")
        case "union_tag_invalid":
            (key,), expected = _quoted(context["discriminator"]), _quoted(context["expected_tags"])
            text = f"unknown {key}" + nearest(str(context["tag"]), expected, "possible")
        case "union_tag_not_found":
            text = f"needs the key {_quoted(context['discriminator'])[0]}"
        case "value_error":
            text = str(context["error"])
        case known if known in _TEXTS:
            text = _TEXTS[known].format(**context)
        case _:
            text = str(problem["msg"]).replace("Input should be", "must be")
    return text


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def nearest(name: str, known: Iterable[str], label: str) -> str:
    """The nearest known name as the end of a sentence, or all names if none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else f"; {label}: {', '.join(names)}"


def _keys_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that a model accepts at a path, through optional fields, mappings and unions."""
    models = [model]
    for part in loc:
        below = [m.model_fields[str(part)].annotation for m in models if part in m.model_fields]
        models = [each for kind in below for each in _models(kind)] or models
    return [name for each in models for name in each.model_fields]


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type):
        return [kind] if issubclass(kind, BaseModel) else []
    return [each for part in typing.get_args(kind) for each in _models(part)]
