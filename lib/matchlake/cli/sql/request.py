"""A query for a running `matchlake sql-server`: it answers without the start of a Spark session.

The server listens on a Unix socket that only its own user can open. It belongs to one conf folder
and one environment. A message is one line of JSON. Importing this module loads no Spark.
"""

import hashlib
import json
import os
import socket
import stat
import sys
import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

_TIMEOUT_SECONDS = 2.0
_LONGEST_PATH = 100
"""Bytes of the path of a socket; systems allow 104 to 108."""


class Format(StrEnum):
    """The format of printed rows."""

    TABLE = "table"
    VERTICAL = "vertical"
    CSV = "csv"
    JSON = "json"


TABLES = (Format.TABLE, Format.VERTICAL)
"""The formats for people; the others print all rows, for programs."""


@dataclass(frozen=True)
class Request:
    """The statements to answer, and how to print their rows."""

    text: str
    style: str
    limit: int | None
    """The maximum number of rows; None: all."""
    width: int
    """The columns of the terminal; 0: the output is not a terminal."""
    conf_time: float
    """When conf was last changed; a server that started with an older conf does not answer."""


def conf_time(folder: Path) -> float:
    """When a file of the conf folder was last changed."""
    return max((path.stat().st_mtime for path in folder.rglob("*.yml")), default=0.0)


def socket_path(conf: Path, env: str) -> Path | None:
    """The socket of a server for a conf folder and environment.

    None without a private folder, or if its path is too long.
    """
    folder = Path(tempfile.gettempdir()) / f"matchlake-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if not private or found.st_uid != os.getuid():
        return None
    name = hashlib.sha256(f"{conf.resolve()}\n{env}".encode()).hexdigest()[:16]
    path = folder / f"sql-{name}.sock"
    return path if len(os.fsencode(path)) <= _LONGEST_PATH else None


def answered_by_server(conf: Path, env: str, request: Request) -> int | None:
    """Prints the answer of a running server. Returns the exit code; None without an answer."""
    path = socket_path(conf, env)
    if path is None or not path.exists():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(_TIMEOUT_SECONDS)
        try:
            link.connect(os.fspath(path))
            link.sendall(json.dumps(asdict(request)).encode() + b"\n")
            lines = link.makefile("r", encoding="utf-8")
            if json.loads(lines.readline() or "{}") != {"accepted": True}:
                return None
        except (OSError, ValueError):
            return None
        link.settimeout(None)
        for line in lines:
            message = json.loads(line)
            if "code" in message:
                return int(message["code"])
            stream = sys.stderr if "err" in message else sys.stdout
            stream.write(message.get("err") or message.get("out") or "")
            stream.flush()
    sys.stderr.write("error: the SQL server ended before its answer was complete.\n")
    return 1
