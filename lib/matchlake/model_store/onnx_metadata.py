"""Reads, adds and removes entries of an ONNX model's metadata."""

from typing import Any

from matchlake.errors import ModelError


def without_entry(data: bytes, key: str) -> tuple[bytes, str | None]:
    """Returns the model without the entry `key`, and the entry.

    Raises ModelError for other bytes.
    """
    graph = _parsed(data)
    found = {each.key: each.value for each in graph.metadata_props}
    kept = [(name, value) for name, value in found.items() if name != key]
    return _written(graph, kept), found.get(key)


def with_entry(data: bytes, key: str, value: str) -> bytes:
    """Returns the model with the entry `key`; its other entries stay."""
    graph = _parsed(data)
    found = [(each.key, each.value) for each in graph.metadata_props if each.key != key]
    return _written(graph, [*found, (key, value)])


def _parsed(data: bytes) -> Any:
    import onnx  # noqa: PLC0415 - the extra `models`

    try:
        return onnx.load_model_from_string(data)
    except Exception:  # noqa: BLE001 - protobuf raises errors of several kinds
        raise ModelError("not an ONNX model") from None


def _written(graph: Any, entries: list[tuple[str, str]]) -> bytes:
    del graph.metadata_props[:]
    for key, value in entries:
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(graph.SerializeToString(deterministic=True))
