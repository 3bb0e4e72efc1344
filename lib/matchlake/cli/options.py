"""Options that several commands take; importing them starts no Spark."""

from pathlib import Path
from typing import Annotated

import typer

Environment = Annotated[str, typer.Option("--env", help="conf/ENV.yml over conf/base.yml")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="overrides one conf key; may be repeated"),
]
ConfDir = Annotated[
    Path | None, typer.Option(help="the folder of base.yml; default: the nearest conf/")
]
