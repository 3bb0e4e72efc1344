"""The wheel that goes to a platform: no stand-in is in it, and its command line needs no Spark."""

import ast
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.programs import shell_environment
from tests.support.sources import ROOT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


# What a wheel for a platform leaves to the platform.
THERE = {"pyspark", "delta", "py4j"}
# Parts of numba and of pydantic, each of which asks for the one version that fits.
PARTS = {"llvmlite", "pydantic_core"}
HEAVY = {"kafka", "mlflow", "numba", "pandas", "pyarrow"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a Python of its own: the wheel is installed, Spark is not."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-index", "--no-deps"]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in files_of(requirements(wheel)):
        if not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    return folder / "bin"


def requirements(wheel: Path) -> list[Requirement]:
    """What the wheel asks for always, as its metadata has it."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        found = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or []
    return [each for each in map(Requirement, found) if needed(each, "")]


def needed(requirement: Requirement, extra: str) -> bool:
    """Whether it is asked for here, by what is installed with `extra`."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def files_of(wanted: list[Requirement]) -> set[Path]:
    """What of the installed packages these bring, and those that they ask for themselves."""
    found: set[Path] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(each.name, extra) for each in wanted for extra in ("", *each.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name.lower(), extra) in seen:
            continue
        seen.add((name.lower(), extra))
        package = distribution(name)
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "/")}
        found |= {Path(str(package.locate_file(top))) for top in tops}
        more = [each for each in map(Requirement, package.requires or []) if needed(each, extra)]
        waiting += [(each.name, extra) for each in more for extra in ("", *each.extras)]
    return found


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=shell_environment(PYTHONPATH=""),
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_stand_in_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "matchlake/cli/main.py" in names
    assert "matchlake/io/secrets/scopes.py" in names
    assert "matchlake/py.typed" in names
    assert [name for name in names if "sandbox" in name] == []


def test_it_asks_for_no_spark(wheel: Path) -> None:
    names = {each.name for each in requirements(wheel)}
    assert "databricks-sdk" in names
    assert not names & {"pyspark", "delta-spark"}


def test_it_asks_for_whatever_it_imports(wheel: Path) -> None:
    asked = {canonicalize_name(each.name) for each in requirements(wheel)}
    brought_by = packages_distributions()
    imported: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            for node in ast.walk(ast.parse(archive.read(name))) if name.endswith(".py") else ():
                if isinstance(node, ast.Import):
                    imported |= {each.name.partition(".")[0] for each in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(str(node.module).partition(".")[0])
    others = imported - sys.stdlib_module_names - THERE - PARTS - {"matchlake"}
    assert {"mlflow", "kafka", "databricks"} <= others
    undeclared = {
        name
        for name in others
        if asked.isdisjoint(map(canonicalize_name, brought_by.get(name, [])))
    }
    assert undeclared == set()


def test_its_command_line_works_without_spark_and_sandbox(programs: Path, tmp_path: Path) -> None:
    for absent in ("pyspark", "pytest"):
        assert run(tmp_path, programs / "python", "-c", f"import {absent}").returncode == 1
    done = run(tmp_path, programs / "matchlake", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("secrets", "bundle", "run"):
        assert f" {command} " in done.stdout
    assert "sandbox" not in done.stdout


def test_a_command_that_needs_spark_says_so(programs: Path, tmp_path: Path) -> None:
    done = run(tmp_path, programs / "matchlake", "secrets", "check")
    assert done.returncode == 1
    assert "pip install 'matchlake[spark]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_that_takes_seconds(tmp_path: Path) -> None:
    told = "import sys, matchlake.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    done = run(tmp_path, sys.executable, "-c", told)
    assert done.returncode == 0, done.stderr
    assert not {"pyspark", *HEAVY} & {*done.stdout.split()}
