"""The settings of a server process, and the channel that sends them to it."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

from matchlake.io.params import KafkaParams
from matchlake.io.secrets.params import SecretsParams
from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params
from matchlake.serve.params import ServingParams

_LENGTH = struct.Struct("!Q")


class ServerSettings(Params):
    """The settings of one process. It has references to secrets, but no secrets."""

    path: str
    """The export, or the folder of a registered model's exports."""
    serving: ServingParams
    secrets: SecretsParams
    kafka: KafkaParams
    lakehouse: str | None
    salt: SecretRef | None
    """The salt of the hashes of erased users."""
    erased_users: Path | None
    """The file with the hashes of erased users; None: no file."""
    metrics: str
    """The file with the counters of all processes."""
    worker: int
    workers: int


def send(channel: socket.socket, message: Any, descriptors: list[int] | None = None) -> None:
    """Sends a JSON value and file descriptors."""
    data = json.dumps(message).encode()
    socket.send_fds(channel, [_LENGTH.pack(len(data))], descriptors or [])
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """Receives a JSON value and file descriptors; None at the end of the channel."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
    head += _read(channel, _LENGTH.size - len(head)) if head else b""
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    data = _read(channel, length)
    return json.loads(data) if data and len(data) == length else None, list(descriptors)


def _read(channel: socket.socket, count: int) -> bytes:
    """Reads `count` bytes; fewer at the end of the channel."""
    parts = []
    while count and (part := channel.recv(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
