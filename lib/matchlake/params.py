"""The base of every parameter class, and the keys that a command line may set."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

_Value = TypeVar("_Value")
_MARK = "settable"
_ABSENT = object()

Settable = Annotated[_Value, Field(json_schema_extra={_MARK: True})]
"""The type of a key that `--set` may change in every environment, with all keys below it.

A key without the mark is for conf files. So are all keys that name a place, an identity, a table or
a secret, and SQL that is not restricted.
"""


class Params(BaseModel):
    """Parameters of one part of the product; unknown keys and later changes are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


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
