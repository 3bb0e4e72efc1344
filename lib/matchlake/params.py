"""The base of every parameter class, its errors, and the keys that a command line may set."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from matchlake.errors import ParameterError

_Value = TypeVar("_Value")
_MARK = "settable"
_ABSENT = object()
_TEXTS = {
    "missing": "is required, and is not given",
    "string_type": "must be text: put it into quotes",
    "int_type": "must be an integer, without quotes and leading zeros",
    "int_parsing": "must be an integer, without quotes and leading zeros",
    "int_from_float": "must be an integer, without quotes and leading zeros",
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
_PATH = re.compile(r"([a-z_]+(?:\.[\w-]+)+): ")
Problem = tuple[tuple[str, ...], str]
"""The path of a key, and what is wrong with its value."""

Settable = Annotated[_Value, Field(json_schema_extra={_MARK: True})]
"""The type of a key that `--set` may change in every environment, with all keys below it.

A key without the mark is for conf files. So are all keys that name a place, an identity, a table or
a secret, and SQL that is not restricted.
"""


class Params(BaseModel):
    """Parameters of one part of the product; unknown keys and later changes are errors.

    A call with a wrong argument raises ParameterError, which names all of them.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    if not TYPE_CHECKING:

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                found = [
                    ": ".join(filter(None, (".".join(path), text)))
                    for path, text in problems_of(error, type(self))
                ]
                raise ParameterError(f"{type(self).__name__}: {'; '.join(found)}") from None

        # Without the mark pydantic calls this for the params within others, and loses their paths.
        __init__.__pydantic_base_init__ = True


def settable_keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The paths of the settable keys of a model, without the keys below them."""
    for name, field in model.model_fields.items():
        below = _params_below(field)
        if _is_marked(field):
            yield f"{before}{name}"
        elif below is not None:
            yield from settable_keys(below, f"{before}{name}.")


def is_fixed(model: type[BaseModel], keys: Sequence[str]) -> bool:
    """Whether only conf files may change a key: neither it nor a key above it is settable.

    An unknown key is not fixed, because a validation of the model refuses it.
    """
    for key in keys:
        field = model.model_fields.get(key)
        if field is None or _is_marked(field):
            return False
        below = _params_below(field)
        if below is None:
            return True
        model = below
    return True


def changed_keys(
    before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The path of each value that differs between two mappings, at any depth."""
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if old is new or (type(old) is type(new) and old == new):
            continue
        was_mapping = old is None or old is _ABSENT or isinstance(old, Mapping)
        if was_mapping and isinstance(new, Mapping) and new:
            yield from changed_keys(old if isinstance(old, Mapping) else {}, new, (*path, key))
        else:
            yield (*path, key)


def _is_marked(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get(_MARK) is True


def _params_below(field: FieldInfo) -> type[Params] | None:
    """The class of parameters that a field holds, also if it may be null; None: another value."""
    kind = field.annotation
    is_optional = typing.get_origin(kind) in (typing.Union, types.UnionType)
    kinds = [each for each in typing.get_args(kind) if each is not type(None)]
    one = kinds[0] if is_optional and len(kinds) == 1 else kind
    return one if isinstance(one, type) and issubclass(one, Params) else None


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems, with the nearest known name for an unknown one; never the value."""
    return [_problem(each, model) for each in error.errors(include_url=False)]


def first_problem(error: ValidationError) -> str:
    """The path of the first wrong value and what is wrong with it; never the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole text'}: {first['msg']}"


def _problem(found: Any, model: type[BaseModel]) -> Problem:
    """The problem; a check of the whole conf begins its text with the path of the key."""
    path, text = tuple(map(str, found["loc"])), _text(found, model)
    named = None if path else _PATH.match(text)
    return (tuple(named[1].split(".")), text[named.end() :]) if named else (path, text)


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
