"""`matchlake sandbox start|stop|status` and `matchlake doctor`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matchlake.dev.sandbox.broker import BrokerState, broker_status, connection
from matchlake.dev.sandbox.broker_log import why_it_ended
from matchlake.dev.sandbox.cloud.process import cloud_home, find_cloud, read_state
from matchlake.dev.sandbox.services import sandbox_login, start_sandbox, stop_sandbox
from matchlake.dev.sandbox.topics import Event
from matchlake.errors import SandboxError

sandbox_app = typer.Typer(
    no_args_is_help=True,
    help="Starts and stops a local Kafka broker, Key Vault and Databricks workspace.",
)

Root = Annotated[Path, typer.Option("--root", help="folder of the sandbox")]
_ROOT = Path(".lakehouse")


def _tell(message: str) -> None:
    Console(soft_wrap=True).print(Text(message))


@sandbox_app.command()
def start(
    root: Root = _ROOT,
    port: Annotated[int | None, typer.Option(help="port of clients; default: a free one")] = None,
    heap: Annotated[str, typer.Option(help="the broker's Java memory")] = "768m",
) -> None:
    """Starts broker, vault and workspace, and returns once they answer; earlier data is kept.

    For example: matchlake sandbox start --port 9092
    """
    before = broker_status(root)
    state, cloud = start_sandbox(root, port=port, heap=heap)
    already = before.phase == "running" and before.pid == state.pid
    _tell(f"The broker {'already runs' if already else 'runs now'} {_where(state)}.")
    _tell(f"Key Vault: {cloud.vault}; workspace: {cloud.workspace}.")


@sandbox_app.command()
def stop(root: Root = _ROOT) -> None:
    """Stops broker, vault and workspace, and keeps their data.

    For example: matchlake sandbox stop
    """
    if stop_sandbox(root):
        _tell("The broker is stopped; its data is kept.")
    else:
        _tell(f"No broker ran in {root.resolve()}: there was nothing to stop.")


@sandbox_app.command()
def status(root: Root = _ROOT) -> None:
    """Shows whether the broker runs, and its address; exits with 3 if it does not.

    For example: matchlake sandbox status
    """
    state = broker_status(root)
    if state.phase == "running":
        _tell(f"The broker runs {_where(state)}.")
        cloud = read_state(cloud_home(root))
        if cloud and find_cloud(root):
            _tell(f"Key Vault: {cloud.vault}; workspace: {cloud.workspace}.")
        return
    if state.phase == "absent":
        _tell(f"No broker was ever started in {root.resolve()}.")
    elif state.phase == "stopped":
        _tell("The broker is stopped; its data is kept.")
    else:
        why = why_it_ended(root.resolve() / "kafka")
        _tell(f"The broker ended without being stopped, its data is kept: {why}")
    raise typer.Exit(3)


@sandbox_app.command()
def publish(
    topic: str,
    file: Annotated[Path, typer.Argument(help="one message per line")],
    root: Root = _ROOT,
    partitions: Annotated[int, typer.Option(min=1, help="number for a new topic")] = 4,
) -> None:
    """Sends the lines of a file to a topic; a second run sends no line again.

    A missing topic is created.

    For example: matchlake sandbox publish rating-events events.jsonl
    """
    from matchlake.dev.sandbox.publish import publish_events  # noqa: PLC0415 - brings Kafka

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise SandboxError(f"{file} cannot be read: {error.strerror}.") from None
    state = broker_status(root)
    if state.phase != "running":
        raise SandboxError("The broker does not run: start it with `matchlake sandbox start`.")
    broker = connection(state, sandbox_login(root) if state.asks_login else None)
    done = publish_events(
        broker, topic, (Event(None, line) for line in lines), partitions=partitions
    )
    _tell(f"{topic}: {done.sent} sent, {done.found} were there already.")


def doctor(root: Root = _ROOT) -> None:
    """Checks this machine for what matchlake needs; exits with 1 if something is missing.

    For example: matchlake doctor
    """
    from matchlake.dev.sandbox.doctor import checks  # noqa: PLC0415 - brings pandas, a second

    results = checks(root)
    table = Table("", "what", "found", "to do", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for check in results:
        mark = Text("ok", "green") if check.ok else Text("MISSING", "bold red")
        table.add_row(mark, check.name, Text(check.found), Text(check.todo))
    Console().print(table)
    if not all(check.ok for check in results):
        raise typer.Exit(1)


def _where(state: BrokerState) -> str:
    return f"on {state.bootstrap} (process {state.pid})"
