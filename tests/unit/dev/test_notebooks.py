"""Notebooks read into cells, and written as Jupyter keeps them."""

import ast
import json
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.dev.notebooks import Cell, read_notebook, to_jupyter, write_jupyter
from matchlake.errors import ConfigError

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def test_cells_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "n.py"
    path.write_text(
        "# Databricks notebook source\n# MAGIC %md\n# MAGIC # Title\n# MAGIC\n# MAGIC Text\n"
        "\n# COMMAND ----------\n\n# MAGIC %pip install x\n\n# COMMAND ----------\n\n"
        "x = 1\n# a comment\nx\n"
    )
    cells = read_notebook(path)
    assert cells == [
        Cell("markdown", "# Title\n\nText"),
        Cell("magic", "%pip install x"),
        Cell("code", "x = 1\n# a comment\nx"),
    ]
    (path.parent / "other.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"not a Databricks.* notebook"):
        read_notebook(path.parent / "other.py")
    jupyter = to_jupyter(cells)
    assert [cell["cell_type"] for cell in jupyter["cells"]] == ["markdown", "markdown", "code"]
    assert "".join(jupyter["cells"][2]["source"]) == "x = 1\n# a comment\nx"


def test_every_notebook_is_written_for_jupyter(tmp_path: Path) -> None:
    written = write_jupyter(ROOT / "notebooks", tmp_path)
    assert [path.stem for path in written] == [path.stem for path in NOTEBOOKS]
    for path in written:
        assert json.loads(path.read_text())["nbformat"] == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_words_pictures_and_no_logic_of_its_own(path: Path) -> None:
    cells = read_notebook(path)
    assert cells[0].kind == "markdown"
    code = "\n".join(cell.text for cell in cells if cell.kind == "code")
    tree = ast.parse(code)
    owned = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If, ast.Try)
    assert not [type(node).__name__ for node in ast.walk(tree) if isinstance(node, owned)]
    assert len([cell for cell in cells if cell.kind == "markdown"]) >= 3
