"""A process of the server, started by `matchlake serve`: python -m matchlake.serve DESCRIPTOR."""

import socket
import sys


def main() -> int:
    """Runs a server process, which gets its settings over the channel. Returns the exit code."""
    descriptor = int(sys.argv[1])
    try:
        from matchlake.serve.worker import main as serve  # noqa: PLC0415 - its absence is reported
    except ModuleNotFoundError as error:
        from matchlake.serve.settings import send  # noqa: PLC0415

        text = f"the package {error.name} is not installed: pip install 'matchlake[serve]'."
        send(socket.socket(fileno=descriptor), {"error": text})
        return 1
    return serve(descriptor)


sys.exit(main())
