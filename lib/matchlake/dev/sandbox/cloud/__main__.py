"""`python -m matchlake.dev.sandbox.cloud HOME`: serves Key Vault and workspace of a sandbox."""

import signal
import sys
import threading
from pathlib import Path

from matchlake.dev.sandbox.cloud.process import read_state
from matchlake.dev.sandbox.cloud.service import Cloud, Credentials


def serve(home: Path) -> None:
    """Serves the cloud with its state in `home`."""
    state = read_state(home)
    if state is None:
        sys.exit(f"No state in {home}: run `matchlake sandbox start`.")
    credentials = Credentials(state.token, state.platform_secret, state.admin_secret)
    Cloud(home, credentials, state.vault_port, state.workspace_port).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
