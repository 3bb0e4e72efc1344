"""Reads notebooks in Databricks' source format and writes them in Jupyter's format."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from matchlake.errors import ConfigError

_FIRST = "# Databricks notebook source"
_BETWEEN = re.compile(r"^# COMMAND -+\s*$", re.MULTILINE)
_MAGIC = "# MAGIC "


class Cell(NamedTuple):
    """One cell: its text, and its kind `code`, `markdown` or `magic` (a Databricks command)."""

    kind: str
    text: str


def read_notebook(path: Path) -> list[Cell]:
    """The cells of a notebook in source format; raises ConfigError for another file."""
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    if first.strip() != _FIRST:
        raise ConfigError(
            f"{path} is not a Databricks source notebook: its first line is not {_FIRST!r}."
        )
    return [_cell(part.strip("\n")) for part in _BETWEEN.split(rest) if part.strip()]


def _cell(text: str) -> Cell:
    lines = text.splitlines()
    if not all(line.startswith(_MAGIC.rstrip()) for line in lines):
        return Cell("code", text)
    plain = [line.removeprefix(_MAGIC).removeprefix(_MAGIC.rstrip()) for line in lines]
    if plain[0].startswith("%md"):
        return Cell(
            "markdown", "\n".join([plain[0].removeprefix("%md").strip(), *plain[1:]]).strip()
        )
    return Cell("magic", "\n".join(plain))


def to_jupyter(cells: list[Cell]) -> dict[str, Any]:
    """The cells in Jupyter's form; Databricks commands become text."""
    made: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        code = cell.kind == "code"
        text = cell.text if cell.kind != "magic" else f"On Databricks: `{cell.text}`"
        entry: dict[str, Any] = {
            "id": f"cell-{number}",
            "cell_type": "code" if code else "markdown",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        made.append(entry | ({"execution_count": None, "outputs": []} if code else {}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": made}


def write_jupyter(folder: Path, out: Path) -> list[Path]:
    """Writes every notebook of `folder` as `.ipynb` to `out`. Returns the new paths."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted(folder.glob("*.py")):
        target = out / f"{path.stem}.ipynb"
        text = json.dumps(to_jupyter(read_notebook(path)), indent=1, ensure_ascii=False)
        target.write_text(text + "\n", encoding="utf-8")
        written.append(target)
    return written
