"""Limits on Avro values, which fastavro does not have.

A value of a recursive schema can nest so deeply that the process crashes. A block of items without
bytes, such as nulls, can fill the memory from a value of five bytes. So a value is checked before
it is decoded: a walk over its bytes counts depth and items, and builds nothing.

The walk is slow. The schema bounds the depth of a value, and its number of items per byte. So only
a value that may exceed a limit is walked. With an ordinary schema that is a very large value.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from matchlake.ingest.parse.limits import Limits
from matchlake.ingest.rejections import ErrorCode, Rejection

_DECIMAL_BYTES = 4096
"""The largest decimal. The time to convert one grows with the square of its length."""
_FEWEST = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "enum": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
    "decimal": 1,
}
"""The fewest bytes of a value, by type."""
_LONG_BYTES = 10
_LONG = 2**64 - 1
_UNCOUNTED = 2**60
"""Above this, the number of items is not exact: nested types double it per level."""


@dataclass(eq=False)
class _Node:
    """A type of a schema, with bounds of its values.

    The defaults of the bounds hold for a type that contains itself; `_measure` lowers the others.
    """

    kind: str
    inside: list["_Node"] = field(default_factory=list)
    size: int = 0
    """The size of a `fixed` type, in bytes."""
    is_measured: bool = False
    is_zero: bool = False
    """Whether values have no bytes."""
    fewest: int = 0
    """The fewest bytes of a value."""
    depth: float = math.inf
    """The greatest depth of a value."""
    items: int = 1
    """The number of items of a value whose arrays and maps are empty."""
    rate: float = math.inf
    """The maximum number of additional items per byte."""
    has_decimal: bool = False

    @cached_property
    def moving(self) -> list["_Node"]:
        """The fields of a record whose values have bytes."""
        return [each for each in self.inside if not each.is_zero]

    @cached_property
    def still(self) -> tuple[int, float]:
        """The items of the parts without bytes, and their greatest depth."""
        parts = [each for each in self.inside if each.is_zero]
        return sum(each.items for each in parts), max((each.depth for each in parts), default=0)


class AvroLimits:
    """Checks the values of one schema against limits."""

    def __init__(self, parsed: Any, limits: Limits) -> None:
        self._limits = limits
        self._root = _node(parsed, {})
        _measure(self._root)

    def rejection_of(self, raw: bytes) -> Rejection | None:
        """The rejection of a value that exceeds a limit, or that ends too early."""
        if not self._may_exceed(len(raw)):
            return None
        try:
            _Walk(raw, self._limits).value(self._root, 0)
        except _ExceededError as error:
            return error.rejection
        return None

    def _may_exceed(self, size: int) -> bool:
        root = self._root
        return (
            root.depth > self._limits.max_depth
            or root.items + root.rate * size > self._limits.max_items
            or (root.has_decimal and size > _DECIMAL_BYTES)
        )


def _node(schema: Any, named: dict[str, _Node]) -> _Node:
    """The node of a schema that fastavro has parsed. Raises ValueError for an unknown type."""
    if isinstance(schema, list):
        return _Node("union", [_node(each, named) for each in schema])
    if isinstance(schema, str):
        return named[schema] if schema in named else _leaf(schema)
    kind = schema["type"]
    if kind in ("array", "map"):
        return _Node(kind, [_node(schema["items" if kind == "array" else "values"], named)])
    is_decimal = schema.get("logicalType") == "decimal"
    if kind not in ("record", "error", "enum", "fixed"):
        return _leaf("decimal" if kind == "bytes" and is_decimal else kind)
    if schema["name"] in named:
        raise ValueError(f"{schema['name']} is defined twice")
    node = named[schema["name"]] = _Node("record" if kind == "error" else kind)
    if kind == "fixed":
        node.size = schema["size"]
        node.has_decimal = is_decimal
    elif kind != "enum":
        node.inside += [_node(each["type"], named) for each in schema["fields"]]
    return node


def _leaf(kind: str) -> _Node:
    if kind not in _FEWEST:
        raise ValueError(f"{kind} is not a type")
    return _Node(kind, has_decimal=kind == "decimal")


def _measure(node: _Node) -> None:
    """Computes the bounds of a type and of all types within it."""
    if node.is_measured:
        return
    node.is_measured = True
    for each in node.inside:
        _measure(each)
    parts = node.inside
    fewest, items = [each.fewest for each in parts], [each.items for each in parts]
    depth = max((each.depth for each in parts), default=0)
    rate = max((each.rate for each in parts), default=0)
    node.has_decimal |= any(each.has_decimal for each in parts)
    match node.kind:
        case "record":
            node.is_zero = all(each.is_zero for each in parts)
            node.fewest, node.items = sum(fewest), min(1 + sum(items), _UNCOUNTED)
            node.depth, node.rate = 1 + depth, rate
        case "union":
            node.fewest, node.items = 1 + min(fewest, default=0), max(items, default=1)
            node.depth, node.rate = depth, rate
        case "array" | "map":
            keys = int(node.kind == "map")
            per_item = fewest[0] + keys
            node.fewest, node.depth = 1, 1 + depth
            node.rate = rate + (items[0] + keys) / per_item if per_item else math.inf
        case kind:
            node.fewest = node.size if kind == "fixed" else _FEWEST[kind]
            node.is_zero, node.depth, node.rate = not node.fewest, 0, 0


class _ExceededError(Exception):
    """A value that exceeds a limit, or that ends too early."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.rejection = Rejection(code, message)


class _Walk:
    """Moves over the bytes of one value; raises at the first limit that the value exceeds."""

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self._raw = raw
        self._limits = limits
        self._at = 0
        self._items = 0

    def value(self, node: _Node, depth: int) -> None:
        """Moves over one value of the type, which is within `depth` others."""
        if node.is_zero:
            self._require_depth(depth + node.depth)
            self._count(node.items)
            return
        self._count(1)
        match node.kind:
            case "record":
                items, deepest = node.still
                self._require_depth(depth + 1 + deepest)
                self._count(items)
                for each in node.moving:
                    self.value(each, depth + 1)
            case "union":
                self.value(self._branch(node), depth)
            case "array" | "map":
                self._require_depth(depth + 1)
                self._blocks(node, depth + 1)
            case "int" | "long" | "enum":
                self._long()
            case "bytes" | "string" | "decimal":
                self._skip(self._long(), is_decimal=node.kind == "decimal")
            case _:
                self._skip(node.fewest, is_decimal=node.has_decimal)

    def _blocks(self, node: _Node, depth: int) -> None:
        (item,) = node.inside
        has_keys = node.kind == "map"
        while count := self._long():
            if count < 0:
                count = -count
                self._long()
            if item.is_zero and not has_keys:
                self._require_depth(depth + item.depth)
                self._count_without_bytes(count, item)
                continue
            for _ in range(count):
                if has_keys:
                    self._skip(self._long())
                self.value(item, depth)

    def _branch(self, node: _Node) -> _Node:
        index = self._long()
        if not 0 <= index < len(node.inside):
            raise _ExceededError(ErrorCode.MALFORMED_AVRO, f"a union has no branch {index}")
        self._items -= 1  # a union does not count as an item
        return node.inside[index]

    def _long(self) -> int:
        number = 0
        for shift in range(0, 7 * _LONG_BYTES, 7):
            if self._at >= len(self._raw):
                break
            byte = self._raw[self._at]
            self._at += 1
            number |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the last byte of a number has no high bit
                number &= _LONG
                return (number >> 1) ^ -(number & 1)
        raise _ExceededError(ErrorCode.MALFORMED_AVRO, f"no integer at byte {self._at}")

    def _skip(self, size: int, *, is_decimal: bool = False) -> None:
        if not 0 <= size <= len(self._raw) - self._at:
            message = f"{size} bytes expected, {len(self._raw) - self._at} left"
            raise _ExceededError(ErrorCode.MALFORMED_AVRO, message)
        if is_decimal and size > _DECIMAL_BYTES:
            message = f"a decimal of {size} bytes; the limit is {_DECIMAL_BYTES}"
            raise _ExceededError(ErrorCode.MALFORMED_AVRO, message)
        self._at += size

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > self._limits.max_items:
            message = f"more items than limits.max_items, {self._limits.max_items}"
            raise _ExceededError(ErrorCode.TOO_MANY_ITEMS, message)

    def _count_without_bytes(self, count: int, item: _Node) -> None:
        if count > len(self._raw):
            message = f"{count} zero-byte items in a value of {len(self._raw)} bytes"
            raise _ExceededError(ErrorCode.TOO_MANY_ITEMS, message)
        self._count(count * item.items)

    def _require_depth(self, depth: float) -> None:
        if depth > self._limits.max_depth:
            message = f"nested deeper than limits.max_depth, {self._limits.max_depth}"
            raise _ExceededError(ErrorCode.NESTED_TOO_DEEP, message)
