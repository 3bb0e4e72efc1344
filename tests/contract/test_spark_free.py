"""Reading conf starts no Spark: the modules that `matchlake.config` imports do not need pyspark."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sources import ROOT

LIB = ROOT / "lib"
SPARK = ("pyspark", "py4j", "delta")
ROOMS = ("features", "formulas", "profiling", "io", "schemas", "params", "errors")
"""The rooms with conf that is free of Spark. When it is all of them, the test needs no list."""
WAITING = ("matchlake.io.delta_maintenance",)
"""Modules of these rooms with params that still lie beside Spark code."""
DECLARATIONS = (
    "matchlake.schemas",
    "matchlake.features.params",
    "matchlake.features.model",
    "matchlake.profiling.params",
    "matchlake.io.params",
    "matchlake.io.secrets",
    "matchlake.io.storage",
)


def _path(module: str) -> Path | None:
    base = LIB.joinpath(*module.split("."))
    found = [each for each in (base.with_suffix(".py"), base / "__init__.py") if each.is_file()]
    return found[0] if found else None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that an import of the module runs; those of TYPE_CHECKING it does not."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _statements(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _statements(statement.body)
        else:
            yield statement


def _imports(module: str) -> set[str]:
    path = _path(module)
    assert path is not None
    found: set[str] = set()
    for statement in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            parents = statement.module.split(".")
            found |= {".".join(parents[:end]) for end in range(1, len(parents) + 1)}
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


def _is_in_rooms(module: str) -> bool:
    product, *room = module.split(".")[:2]
    return product == "matchlake" and set(room) <= set(ROOMS) and module not in WAITING


def modules_with_spark(start: str) -> set[str]:
    """The modules that import Spark themselves: `start`, or one of ROOMS that it imports."""
    waiting, seen, found = [start], {start}, set()
    while waiting:
        module = waiting.pop()
        for name in _imports(module):
            if name.split(".")[0] in SPARK:
                found.add(module)
            elif name not in seen and _is_in_rooms(name) and _path(name):
                seen.add(name)
                waiting.append(name)
    return found


def test_config_needs_no_spark_in_these_rooms() -> None:
    assert modules_with_spark("matchlake.config") == set()


@pytest.mark.parametrize("module", DECLARATIONS)
def test_module_imports_without_spark(module: str) -> None:
    assert modules_with_spark(module) == set()


def test_declarations_import_leaves_spark_out() -> None:
    names = ", ".join(DECLARATIONS)
    code = f"import sys, {names}; print(*sorted({set(SPARK)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
