"""Options that several commands take; importing them starts no Spark."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from matchlake.errors import ConfigError

Environment = Annotated[str, typer.Option("--env", help="conf/ENV.yml over conf/base.yml")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="overrides one conf key; may be repeated"),
]
ConfDir = Annotated[
    Path | None, typer.Option(help="the folder of base.yml; default: the nearest conf/")
]


def time_of(text: str, option: str = "--served") -> datetime:
    """A time in UTC; raises ConfigError for other text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text}: this is not a time. Give a date or a time, such as 2026-05-01 or "
            "2026-05-01T12:00."
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
