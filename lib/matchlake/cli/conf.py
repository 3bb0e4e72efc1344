"""`matchlake conf check`, `show`, `keys` and `schema`. They read files only and start no Spark."""

import json
from pathlib import Path
from textwrap import fill, indent
from typing import Annotated, Any

import typer
import yaml

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import (
    environment_layers,
    environments,
    find_conf,
    load_config,
)
from matchlake.config.keys import conf_keys, conf_schema
from matchlake.errors import ConfigError
from matchlake.params import nearest

conf_app = typer.Typer(no_args_is_help=True, help="Checks conf/, and shows its keys and values.")


@conf_app.command()
def check(conf_dir: ConfDir = None) -> None:
    """Validates all environments. Exits with 1 and names file and line if one is not valid.

    A problem that several environments have is shown once.

    For example: matchlake conf check
    """
    folder = conf_dir or find_conf()
    having: dict[str, list[str]] = {}
    for env in environments(folder):
        try:
            load_config(env, conf_dir=folder)
        except ConfigError as error:
            first, *problems = str(error).splitlines()
            for problem in problems or [first]:
                having.setdefault(problem.strip(), []).append(env)
        else:
            typer.echo(f"{env}: valid")
    for names in dict.fromkeys(map(tuple, having.values())):
        problems = [problem for problem, each in having.items() if tuple(each) == names]
        typer.echo(f"{', '.join(names)}: {len(problems)} problem(s)", err=True)
        typer.echo(indent("\n".join(problems), "  "), err=True)
    if having:
        raise typer.Exit(1)


@conf_app.command()
def show(
    key: Annotated[
        str, typer.Argument(help="a key such as kafka.timeout_seconds; default: all")
    ] = "",
    *,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Shows the value of a key in an environment, and the file and line it comes from.

    Values include defaults and --set. A secret is shown as its reference.

    For example: matchlake conf show train.als --env prod
    """
    folder = conf_dir or find_conf()
    value: Any = load_config(env, overrides or [], folder).model_dump(
        mode="json", exclude={"env", "conf_dir"}
    )
    keys = tuple(filter(None, key.split(".")))
    for at, part in enumerate(keys):
        if not isinstance(value, dict) or part not in value:
            known = value if isinstance(value, dict) else ()
            above = ".".join(keys[:at]) or "conf"
            raise ConfigError(f"No key {part!r} in {above}{nearest(part, known, 'known here')}")
        value = value[part]
    place = _place(keys, overrides or [], environment_layers(env, folder).exact_place(keys))
    typer.echo(f"# {place}" if keys else f"# {folder}, --env {env}")
    typer.echo(
        yaml.safe_dump(value, sort_keys=False, allow_unicode=True).removesuffix("...\n"), nl=False
    )


def _place(keys: tuple[str, ...], overrides: list[str], place: str | None) -> str:
    path = ".".join(keys)
    for override in overrides:
        name = override.partition("=")[0]
        if f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}."):
            return f"--set {name}"
    return place or "the default"


@conf_app.command()
def keys(
    prefix: Annotated[str, typer.Argument(help="only keys that begin with this")] = "",
) -> None:
    """Lists the keys of conf with type, default and meaning; NAME is a name that you choose.

    --set can change keys with `set` in every environment. It can change the others, except
    `secrets`, in `local` and `demo` only.

    For example: matchlake conf keys streams.NAME.columns
    """
    found = [each for each in conf_keys() if each.path.startswith(prefix)]
    if not found:
        known = [each.path for each in conf_keys()]
        raise ConfigError(f"No key begins with {prefix!r}{nearest(prefix, known, 'there is')}")
    for each in found:
        facts = [each.kind, *([f"default {each.default}"] if each.default else [])]
        typer.echo(f"{each.path}: {', '.join([*facts, *(['set'] if each.settable else [])])}")
        if each.sentence:
            typer.echo(indent(fill(each.sentence, 96), "    "))


@conf_app.command()
def schema(
    file: Annotated[Path | None, typer.Argument(help="default: standard output")] = None,
) -> None:
    """Writes a JSON schema of conf, by which editors complete and check its files.

    Begin a file with: # yaml-language-server: $schema=schema.json

    For example: matchlake conf schema conf/schema.json
    """
    text = json.dumps(conf_schema(), indent=1) + "\n"
    if file:
        file.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)
