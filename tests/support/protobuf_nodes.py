"""A Protobuf message that may hold itself."""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def node_file() -> descriptor_pb2.FileDescriptorProto:
    """The message `p.Node`: user_id, `next` (one of itself) and `all` (many of itself)."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="node.proto", package="p", syntax="proto3")
    node = file.message_type.add(name="Node")
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    node.field.add(name="user_id", number=1, type=kinds.TYPE_STRING, label=one)
    node.field.add(name="next", number=2, type=kinds.TYPE_MESSAGE, type_name=".p.Node", label=one)
    node.field.add(name="all", number=3, type=kinds.TYPE_MESSAGE, type_name=".p.Node", label=many)
    return file


def node_class() -> Any:
    """The class of `p.Node`."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(node_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Node"))


def node_options(folder: Path) -> dict[str, str]:
    """The `format_options` of a stream of `p.Node`, whose descriptors are in the folder."""
    path = folder / "node.desc"
    described = descriptor_pb2.FileDescriptorSet(file=[node_file()])
    path.write_bytes(described.SerializeToString())
    return {"descriptors": str(path), "message": "p.Node"}
