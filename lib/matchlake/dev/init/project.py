"""Writes a new project: conf, jobs, bundle, sample data, a README, and a pipeline if asked."""

import json
import re
import shutil
from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from matchlake.config.keys import conf_schema
from matchlake.dev.init.samples import order_lines, products_csv
from matchlake.dev.init.shipped import shipped_files
from matchlake.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_IGNORED = "/.lakehouse/\n/dist/\n__pycache__/\n"
_TARGETS = ("dev", "staging", "prod")


class Example(StrEnum):
    """The data set of a new project."""

    SHOP = "shop"
    MOVIELENS = "movielens"


class Pipeline(StrEnum):
    """The service whose pipeline is written."""

    AZURE_DEVOPS = "azure-devops"
    GITHUB = "github"


_PIPELINES = {
    Pipeline.AZURE_DEVOPS: ("azure-pipelines.yml", "azure-pipelines.yml"),
    Pipeline.GITHUB: ("github.yml", ".github/workflows/matchlake.yml"),
}
# The names in a shop's files, instead of the tables of MovieLens.
_SHOP = {
    "            - ${var.catalog}.bronze.users\n": "",
    "bronze.rating_events": "bronze.order_events",
    "rating events are late": "orders are late",
    "stream=rating_events": "stream=orders",
    "gold.user_features": "gold.item_features",
    "; `demo` adds MovieLens": "",
}


def create_project(folder: Path, example: Example, pipeline: Pipeline | None) -> None:
    """Writes a project into the new `folder`, whose name is the project's.

    Raises ConfigError if the folder exists, or if its name cannot be that of a catalog.
    """
    name = folder.name
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid name of a project: it begins with a letter and has "
            "lower-case letters, digits, _ and -, at most 63 of them."
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(f"{folder} exists already: choose another name, or remove it.") from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}.") from None
    try:
        _fill(folder, example, pipeline)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"{folder} cannot be written: {error.strerror}.") from None


def _fill(folder: Path, example: Example, pipeline: Pipeline | None) -> None:
    shipped, project = shipped_files(), {"{{project}}": folder.name}
    project["{{version}}"] = version("matchlake")
    _copy_bundle(shipped, folder, _SHOP if example is Example.SHOP else {})
    if example is Example.SHOP:
        _write(folder / "conf" / "base.yml", _template("base.yml"))
        _write(folder / "conf" / "grants.sql", _template("grants.sql"))
        _write(folder / "samples" / "orders.jsonl", order_lines())
        _write(folder / "samples" / "lake" / "products.csv", products_csv())
    else:
        for source in (
            "conf/base.yml",
            "conf/demo.yml",
            "conf/data/movielens.yml",
            "conf/grants.sql",
        ):
            _write(folder / source, (shipped / source).read_text("utf-8"))
        for path in sorted((shipped / "notebooks").glob("*.py")):
            _write(folder / "notebooks" / path.name, path.read_text("utf-8"))
    _write(folder / "conf" / "schema.json", json.dumps(conf_schema(), indent=1) + "\n")
    _write(folder / "README.md", _replaced(_template("README.md"), project))
    _write(folder / ".gitignore", _IGNORED)
    if pipeline:
        template, target = _PIPELINES[pipeline]
        _write(folder / target, _replaced(_template(template), project))


def _copy_bundle(shipped: Path, folder: Path, tables: Mapping[str, str]) -> None:
    """Copies the bundle, its jobs and the environments, under the names of the project."""
    name, catalog = folder.name, folder.name.replace("-", "_")
    own = {
        "  name: matchlake\n": f"  name: {name}\n",
        "PYTHONPATH=lib python3 -m": "python3 -m",
        "matchlake-${bundle.target}": f"{name}-${{bundle.target}}",
        **{f"matchlake_{target}": f"{catalog}_{target}" for target in _TARGETS},
        **{f"scope: matchlake-{target}": f"scope: {name}-{target}" for target in _TARGETS},
    }
    if tables:
        own |= {**tables, "conf/demo.yml, ": "", _example_of(shipped): ""}
    sources = [shipped / "databricks.yml", *sorted((shipped / "jobs").glob("*.job.yml"))]
    sources += [shipped / "conf" / f"{env}.yml" for env in ("local", *_TARGETS)]
    for source in sources:
        text = source.read_text("utf-8")
        if tables:
            text = "".join(each for each in text.splitlines(keepends=True) if not _extends(each))
        _write(folder / source.relative_to(shipped), _replaced(text, own))
    for source in sorted((shipped / "jobs").glob("*.py")):
        _write(folder / "jobs" / source.name, source.read_text("utf-8"))
    for source in sorted((shipped / "jobs" / "dashboards").glob("*.lvdash.json")):
        _write(folder / "jobs" / "dashboards" / source.name, source.read_text("utf-8"))
    lock = "requirements-job.lock"
    _write(folder / lock, (shipped / lock).read_text("utf-8"))


def _extends(line: str) -> bool:
    return line.startswith("extends: [data/")


def _example_of(shipped: Path) -> str:
    """The lines of databricks.yml that say which data set the example deploys."""
    lines = (shipped / "databricks.yml").read_text("utf-8").splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if line.startswith("# As an example"))
    last = next(at for at, line in enumerate(lines) if at > first and not line.startswith("#"))
    return "".join(lines[first:last])


def _template(name: str) -> str:
    return (files("matchlake.dev.init") / "templates" / name).read_text("utf-8")


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for before, after in words.items():
        text = text.replace(before, after)
    return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
