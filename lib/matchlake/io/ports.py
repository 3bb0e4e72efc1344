"""Free ports of this machine, and the error that names the owner of a taken one."""

import random
import socket

from matchlake.errors import SandboxError

HOST = "127.0.0.1"
"""The only address on which servers of this machine listen."""
MLFLOW_PORT = 5000
"""The port of the local MLflow page, if it is free."""

# These ports lie below the ephemeral range of Linux and macOS. So no outgoing connection takes a
# port after it was chosen.
_PORTS = range(20_000, 32_000)
_UNKNOWN_OWNER = "another program"


def is_port_free(port: int) -> bool:
    """Whether a server could listen on `port` of this machine now."""
    with socket.socket() as probe:
        # Servers set this option, too: a port with connections in TIME_WAIT then counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """The program that listens on `port`: `java (process 4711)`, or `another program`.

    Only psutil, of the extra `local`, can name it, and on some systems only for root.
    """
    try:
        import psutil  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        return _UNKNOWN_OWNER
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return _UNKNOWN_OWNER
    return _UNKNOWN_OWNER


def choose_port(requested: int | None, last: int = 0, avoid: int = 0) -> int:
    """The `requested` port; without one the `last` port if it is free, else any free one.

    A chosen port is never `avoid`. Raises SandboxError if `requested` is taken, with its owner.
    """
    if requested is not None:
        if is_port_free(requested):
            return requested
        raise SandboxError(
            f"Port {requested} is taken by {port_owner(requested)}: end that program, choose "
            "another --port, or leave out --port to get a free one."
        )
    tries = [last, *random.sample(_PORTS, 100)]
    for port in tries:
        if port and port != avoid and is_port_free(port):
            return port
    raise SandboxError(
        f"None of {len(tries)} ports tried between {_PORTS.start} and {_PORTS.stop} is free: "
        "choose a free port with --port."
    )
