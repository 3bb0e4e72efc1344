"""All that a sandbox runs: the cloud's stand-ins, and a broker whose password is in their vault."""

import secrets
from pathlib import Path
from typing import NamedTuple

from matchlake.dev.sandbox.broker import BrokerState, Login, start_broker, stop_broker
from matchlake.dev.sandbox.cloud.process import CloudState, start_cloud, stop_cloud, vault_file
from matchlake.dev.sandbox.cloud.vault import keep_or_make
from matchlake.io.secrets import Secret

KAFKA_USER = "matchlake"
"""As whom conf/local.yml logs in to the sandbox's broker."""

KAFKA_PASSWORD = "kafka-password"  # noqa: S105 - its name, not its value
"""The vault's secret with that user's password, made at random for each sandbox."""


class Sandbox(NamedTuple):
    """What runs after a start."""

    broker: BrokerState
    cloud: CloudState


def start_sandbox(root: Path, *, port: int | None = None, heap: str = "768m") -> Sandbox:
    """Starts what does not run yet, and returns once all of it answers.

    Raises SandboxError as `start_broker` and `start_cloud` do.
    """
    cloud = start_cloud(root)
    return Sandbox(start_broker(root, port=port, heap=heap, login=sandbox_login(root)), cloud)


def stop_sandbox(root: Path) -> bool:
    """Ends all of it, keeping its data; whether there was anything to end."""
    ended = [stop_broker(root), stop_cloud(root)]
    return any(ended)


def sandbox_login(root: Path) -> Login:
    """The login that the sandbox's broker is made with; its password is new for each sandbox."""
    value = keep_or_make(vault_file(root), KAFKA_PASSWORD, lambda: secrets.token_urlsafe(24))
    return Login(KAFKA_USER, Secret(value))
