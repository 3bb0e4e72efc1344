"""`matchlake sql` and `matchlake sql-server`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.cli.sql.request import TABLES, Format, Request, answered_by_server, conf_time
from matchlake.cli.sql.statements import NOTHING, script_statements
from matchlake.errors import ConfigError, InputError
from matchlake.io.conf_folder import find_conf
from matchlake.io.ports import HOST, choose_port

if TYPE_CHECKING:
    from matchlake.cli.sql.analyst import Analyst
    from matchlake.config import JobConfig

TABLE_LIMIT = 100
_HISTORY = Path.home() / ".matchlake_sql_history"
_INTERRUPTED = 130
_USUAL_PORT = 10_000


def sql(  # noqa: PLR0913, PLR0917 - each is an option of the command
    query: Annotated[str | None, typer.Argument(help="a query, or several separated by ;")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="a file of statements separated by ;")
    ] = None,
    style: Annotated[
        Format, typer.Option("--format", help="csv and json print all rows")
    ] = Format.TABLE,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="maximum number of rows; 0: all; tables: 100"),
    ] = None,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Queries tables and views: one query, a file of them, or a prompt without one.

    A row that is wider than the terminal is printed as one line per column; --format vertical
    does so always.

    Statements that write are refused. That prevents mistakes; it is no sandbox: a query can call
    functions that run code as the user of this process. Run only queries that you trust, and not
    as root. Without a query, piped input supplies the statements. Times are in UTC.
    `matchlake sql tables` lists tables and views. If `matchlake sql-server` runs for the same conf
    and environment, it answers, without the start of Spark.

    For example: matchlake sql "SELECT * FROM gold.top_items LIMIT 5" --format csv
    """
    text = _text(query, file)
    statements = None if text is None else _statements(text)
    rows = (TABLE_LIMIT if style in TABLES else None) if limit is None else limit or None
    if text is not None and not overrides:
        folder = conf_dir or find_conf()
        width = Console().width if sys.stdout.isatty() else 0
        code = answered_by_server(folder, env, Request(text, style, rows, width, conf_time(folder)))
        if code is not None:
            raise typer.Exit(code)
    _answer(env, overrides or [], conf_dir, statements, (style, rows))


def _answer(
    env: str,
    overrides: list[str],
    conf_dir: Path | None,
    statements: list[str] | None,
    shown: tuple[Format, int | None],
) -> None:
    """Answers the statements, or those of a prompt, in a session of this process."""
    from matchlake.cli.launch import start_quietly  # noqa: PLC0415 - brings Spark, a second
    from matchlake.cli.sql.analyst import Analyst, interruptible  # noqa: PLC0415
    from matchlake.cli.sql.prompt import line_editing, run_prompt  # noqa: PLC0415
    from matchlake.config import load_config  # noqa: PLC0415

    runtime = start_quietly(load_config(env, overrides, conf_dir), "sql")
    analyst = Analyst(runtime.lakehouse, runtime.config)
    if statements is None:
        with line_editing(_HISTORY, analyst.names()):
            run_prompt(analyst, Console(), shown[1])
        return
    with _quiet_ends():
        for statement in statements:
            interruptible(analyst.spark, partial(_print, analyst, statement, *shown))


def _text(query: str | None, file: Path | None) -> str | None:
    """The statements to run: the query, those of the file, or piped ones; None for a prompt."""
    if query is not None and file is not None:
        raise InputError("Give a query or --file, not both.")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"The file {file} cannot be read: {reason}.") from None
    return sys.stdin.read() if query is None and not sys.stdin.isatty() else query


def _statements(text: str) -> list[str]:
    """The statements of `text`; raises InputError if there is none."""
    statements = script_statements(text)
    if not statements:
        raise InputError(NOTHING)
    return statements


def _print(analyst: "Analyst", statement: str, style: Format, limit: int | None) -> None:
    from matchlake.cli.sql.output import fetch_answer, print_answer, write_rows  # noqa: PLC0415

    with analyst.errors_explained():
        frame = analyst.query(statement)
        if style in TABLES:
            vertical = style is Format.VERTICAL
            print_answer(fetch_answer(frame, limit), Console(), vertical=vertical)
            return
        cut = write_rows(frame, style, limit, _utf8_stdout())
    sys.stdout.flush()
    if cut:
        typer.echo(f"note: only the first {limit} rows are shown (--limit 0: all)", err=True)


def _utf8_stdout() -> TextIO:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


@contextmanager
def _quiet_ends() -> Iterator[None]:
    """Ends without a traceback if the reader of a pipe is gone, or on Ctrl-C."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; this output goes to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def sql_server_command(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="default: 10000, or any free one")
    ] = None,
    refresh: Annotated[
        float, typer.Option(min=0.5, help="seconds between checks for new tables")
    ] = 5.0,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
    *,
    allow_root: Annotated[
        bool, typer.Option("--allow-root", help="starts also as root, as in a container of its own")
    ] = False,
) -> None:
    """Serves tables and views to JDBC clients on this machine, until Ctrl-C or SIGTERM.

    This is Spark's Thrift server without passwords. Every user of this machine can connect to the
    port, read and write the tables, and run code as the user who started the server. So they can
    read the files of that user, the file of secrets too. Start it only on a machine of your own. It
    refuses to start as root.

    For example: matchlake sql-server --port 10000
    """
    if not allow_root and hasattr(os, "geteuid") and os.geteuid() == 0:
        raise ConfigError(
            "sql-server does not start as root: everyone who can connect to its port could run "
            "code as root. Start it as another user, or with --allow-root in a container of its "
            "own."
        )
    from matchlake.config import load_config  # noqa: PLC0415 - brings pandas, a second

    config = load_config(env, overrides or [], conf_dir)
    if not config.lakehouse:
        raise ConfigError(
            f"--env {env} has its tables in a catalog: use a SQL warehouse of Databricks."
        )
    chosen = choose_port(port, _USUAL_PORT)
    _serve(config, chosen, refresh, warm=not overrides)


def _serve(config: "JobConfig", port: int, refresh: float, *, warm: bool) -> None:
    """Serves until Ctrl-C or SIGTERM; with `warm` also the queries of `matchlake sql`."""
    from matchlake.cli.launch import start_quietly  # noqa: PLC0415 - brings Spark, a second
    from matchlake.cli.sql.analyst import Analyst  # noqa: PLC0415
    from matchlake.cli.sql.listener import listening  # noqa: PLC0415
    from matchlake.cli.sql.refresh import Refresher  # noqa: PLC0415
    from matchlake.cli.sql.server import sql_server  # noqa: PLC0415

    runtime = start_quietly(config, "sql-server", quick=False)
    stopped = Event()
    # Set after the start of Spark, because Spark sets its own handler for Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    refresher = Refresher(runtime.lakehouse, config)
    names = refresher.refresh()
    analyst = Analyst(runtime.lakehouse, config)
    with sql_server(runtime.spark, port), listening(analyst) if warm else nullcontext():
        url = f"jdbc:hive2://{HOST}:{port}/gold"
        typer.echo(f"{len(names)} tables and views at {url} (any user, no password).")
        typer.echo(f'Try: beeline -u {url} -e "SELECT * FROM top_items LIMIT 5"')
        typer.echo("`matchlake sql` is answered here, too, in less than a second.")
        typer.echo("Ctrl-C stops it.")
        while not stopped.wait(refresh):
            refresher.refresh()
    runtime.spark.stop()
    typer.echo("The SQL server has stopped.")
