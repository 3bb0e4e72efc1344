"""`python -m matchlake.dev.sandbox.cloud HOME`: serves a sandbox's stand-ins until it is ended."""

import signal
import sys
import threading
from pathlib import Path

from matchlake.dev.sandbox.cloud.process import read_state
from matchlake.dev.sandbox.cloud.service import Cloud, Credentials


def serve(home: Path) -> None:
    """Serves the cloud whose state lies in `home`."""
    state = read_state(home)
    if state is None:
        sys.exit(f"There is no state in {home}: `matchlake sandbox start` makes one.")
    credentials = Credentials(state.token, state.platform_secret, state.admin_secret)
    Cloud(home, credentials, state.vault_port, state.workspace_port).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
