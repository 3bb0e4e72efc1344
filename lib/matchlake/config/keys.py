"""All keys of conf: their types, defaults and descriptions, as a list and as a JSON schema."""

import json
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from matchlake.config import JobConfig
from matchlake.params import Params, is_fixed

_BY_COMMAND_LINE = ("env", "conf_dir")
"""Fields of JobConfig that no file sets."""
_WORDS = {int: "integer", float: "number", bool: "true or false", type(None): "null"}


class Key(NamedTuple):
    """A key of conf."""

    path: str
    """Its path with dots. NAME stands for a name that the user chooses."""
    kind: str
    """The type of its value, in words."""
    default: str
    """The default as JSON; `required` without one."""
    settable: bool
    """Whether --set may change it in every environment."""
    sentence: str
    """The meaning of the key."""


def conf_keys() -> Iterator[Key]:
    """All keys, in the order of their declaration."""
    for name, field in JobConfig.model_fields.items():
        if name not in _BY_COMMAND_LINE:
            yield from _below(name, field, (name,), _value(field))


def _below(path: str, field: FieldInfo, keys: tuple[str, ...], default: Any) -> Iterator[Key]:
    sentence = " ".join((field.description or "").split())
    models = list(_models(field.annotation))
    is_named = typing.get_origin(field.annotation) is dict
    settable = not is_fixed(JobConfig, keys)
    kind = kind_of(field.annotation)
    yield Key(path, kind, _default(field, models, default), settable, sentence)
    for model in models[:1] if len(models) == 1 else ():
        for name, each in model.model_fields.items():
            inner = f"{path}.NAME.{name}" if is_named else f"{path}.{name}"
            # The default of a mapping may differ from the defaults of its class.
            own = getattr(default, name) if isinstance(default, model) else _value(each)
            yield from _below(inner, each, (*keys, *(("NAME",) if is_named else ()), name), own)


def _value(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _default(field: FieldInfo, models: list[type[BaseModel]], value: Any) -> str:
    if field.is_required():
        return "required"
    if value is PydanticUndefined or (models and isinstance(value, BaseModel)):
        return ""
    if isinstance(value, Enum):
        value = value.value
    return json.dumps(value, default=str)


def kind_of(annotation: Any) -> str:
    """The type of a value in words: `integer`, `list of text`, `one of a, b`."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (tuple, list):
        return f"list of {kind_of(parts[0])}"
    if origin is dict:
        return f"mapping of names to {kind_of(parts[1])}"
    if parts:
        kinds = parts[:1] if origin is Annotated else parts
        return " or ".join(dict.fromkeys(map(kind_of, kinds)))
    is_mapping = isinstance(annotation, type) and issubclass(annotation, Params)
    return "mapping" if is_mapping else _WORDS.get(annotation, "text")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type):
        if issubclass(annotation, Params):
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from _models(part)


def conf_schema() -> dict[str, Any]:
    """The JSON schema of a file of conf, for editors.

    No key is required, because a file may leave it to another layer. Null removes an entry of a
    mapping of names.
    """
    schema = JobConfig.model_json_schema()
    for name in _BY_COMMAND_LINE:
        del schema["properties"][name]
    schema["title"] = "A file of matchlake's conf"
    _loosen(schema)
    return schema


def _loosen(schema: Any) -> None:
    if isinstance(schema, dict):
        schema.pop("required", None)
        entry = schema.get("additionalProperties")
        if isinstance(entry, dict) and "$ref" in entry:
            schema["additionalProperties"] = {"anyOf": [entry, {"type": "null"}]}
        for below in schema.values():
            _loosen(below)
    elif isinstance(schema, list):
        for below in schema:
            _loosen(below)
