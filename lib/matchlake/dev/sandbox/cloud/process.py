"""The process of the local Key Vault and workspace; it outlives the command that starts it."""

import json
import logging
import secrets
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.error import HTTPError

import psutil

from matchlake.dev.sandbox.cloud.files import PrivateFile
from matchlake.dev.sandbox.process import alone, end_process, find_process, spawn_detached
from matchlake.errors import SandboxError
from matchlake.io.ports import HOST, choose_port
from matchlake.io.secrets.local import write_private

_log = logging.getLogger(__name__)
_MODULE = "matchlake.dev.sandbox.cloud"
_TIMEOUT = 60.0
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class CloudState:
    """The ports of the local Key Vault and workspace, and the secrets of their clients."""

    vault_port: int
    workspace_port: int
    token: str = field(repr=False)
    platform_secret: str = field(repr=False)
    admin_secret: str = field(repr=False)

    @property
    def workspace(self) -> str:
        """The workspace's address."""
        return f"http://{HOST}:{self.workspace_port}"

    @property
    def vault(self) -> str:
        """The vault's address."""
        return f"https://{HOST}:{self.vault_port}"


def cloud_home(root: Path) -> Path:
    """The private folder of a sandbox's cloud."""
    return root.resolve() / "cloud"


def vault_file(root: Path) -> PrivateFile:
    """The stored secrets of the vault, for administration without its server."""
    return PrivateFile(cloud_home(root) / "vault.json")


def read_state(home: Path) -> CloudState | None:
    """The state of the cloud in `home`; None if it was never started."""
    try:
        data = json.loads((home / "state.json").read_text(encoding="utf-8"))
        return CloudState(**{name: data[name] for name in CloudState.__dataclass_fields__})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise SandboxError(f"{home / 'state.json'} cannot be read: delete it.") from error


def find_cloud(root: Path) -> psutil.Process | None:
    """The process of the sandbox's cloud, while it runs."""
    return find_process(_MODULE, str(cloud_home(root)))


def stop_cloud(root: Path) -> bool:
    """Stops the local Key Vault and workspace of `root`; returns whether they ran. Keeps data."""
    process = find_cloud(root)
    if process is not None:
        end_process(process, _GRACE_SECONDS)
    return process is not None


def start_cloud(root: Path) -> CloudState:
    """Starts the local Key Vault and workspace of `root` unless they run; returns once they answer.

    Raises SandboxError if they do not start.
    """
    with alone(cloud_home(root)):
        last = read_state(cloud_home(root))
        if last and find_cloud(root) and _answers(last):
            return last
        stop_cloud(root)
        return _launch(root, last)


def _launch(root: Path, last: CloudState | None) -> CloudState:
    home = cloud_home(root)
    port = choose_port(None, last.vault_port if last else 0)
    state = CloudState(
        port,
        choose_port(None, last.workspace_port if last else 0, avoid=port),
        *((last.token, last.platform_secret, last.admin_secret) if last else _new_secrets()),
    )
    written = {**asdict(state), "workspace": state.workspace, "vault": state.vault}
    write_private(home / "state.json", json.dumps(written, indent=1))
    log = home / "console.log"
    log.unlink(missing_ok=True)
    spawn_detached([sys.executable, "-m", _MODULE, str(home)], log)
    _wait(root, state, log)
    return state


def _new_secrets() -> tuple[str, str, str]:
    return secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32)


def _wait(root: Path, state: CloudState, log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not _answers(state):
        if find_cloud(root) is None and time.monotonic() > deadline - _TIMEOUT + 1:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise SandboxError(
                f"The sandbox's Key Vault and workspace ended while they started: "
                f"{lines[-1] if lines else 'no output'} (log: {log})"
            )
        if time.monotonic() > deadline:
            stop_cloud(root)
            raise SandboxError(
                f"The sandbox's Key Vault and workspace did not answer within {_TIMEOUT:.0f} s "
                f"(log: {log})."
            )
        time.sleep(0.05)


def _answers(state: CloudState) -> bool:
    try:
        with urllib.request.urlopen(  # noqa: S310 - our own address
            f"{state.workspace}/api/2.0/secrets/scopes/list", timeout=5
        ):
            return False
    except HTTPError as error:
        error.close()
        # 401: the server asks for a token, so it is up.
        return error.code == 401  # noqa: PLR2004
    except OSError:
        return False
