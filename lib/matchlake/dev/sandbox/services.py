"""The services of a sandbox: Key Vault, workspace, and a broker with its password in the vault."""

import secrets
from pathlib import Path
from typing import NamedTuple

from matchlake.dev.sandbox.broker import BrokerState, Login, start_broker, stop_broker
from matchlake.dev.sandbox.cloud.process import CloudState, start_cloud, stop_cloud, vault_file
from matchlake.dev.sandbox.cloud.vault import keep_or_make
from matchlake.io.secrets import Secret

KAFKA_USER = "matchlake"
"""The user of conf/local.yml in the sandbox's broker."""

KAFKA_PASSWORD = "kafka-password"  # noqa: S105 - a name, not a value
"""The name of the vault secret with that user's password, random for each sandbox."""

ERASURE_SALT = "erasure-salt"
"""The name of the vault secret that `erase.salt` of conf/local.yml refers to."""


class Sandbox(NamedTuple):
    """The state of the services after a start."""

    broker: BrokerState
    cloud: CloudState


def start_sandbox(root: Path, *, port: int | None = None, heap: str = "768m") -> Sandbox:
    """Starts the services that do not run yet, and returns once all answer.

    Raises SandboxError as `start_broker` and `start_cloud` do.
    """
    keep_or_make(vault_file(root), ERASURE_SALT, lambda: secrets.token_hex(32))
    cloud = start_cloud(root)
    return Sandbox(start_broker(root, port=port, heap=heap, login=sandbox_login(root)), cloud)


def stop_sandbox(root: Path) -> bool:
    """Stops all services and keeps their data. Returns whether one was running."""
    ended = [stop_broker(root), stop_cloud(root)]
    return any(ended)


def sandbox_login(root: Path) -> Login:
    """The login of the sandbox's broker; its password is made once per sandbox."""
    value = keep_or_make(vault_file(root), KAFKA_PASSWORD, lambda: secrets.token_urlsafe(24))
    return Login(KAFKA_USER, Secret(value))
