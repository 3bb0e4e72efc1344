"""The wheel that goes to a platform: no stand-in is in it, and its command line needs no Spark."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tests.support.programs import shell_environment
from tests.support.sources import ROOT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


# What a wheel for a platform leaves to the platform; and this tree, which must not stand in for it.
LEFT_OUT = ("pyspark", "delta", "py4j", "matchlake", "__editable__", "_virtualenv", "pip")
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
    (ours,) = {Path(path) for path in sys.path if path.endswith("site-packages")}
    for path in ours.iterdir():
        if not path.name.lower().startswith(LEFT_OUT) and not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    return folder / "bin"


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
    assert "matchlake/cli.py" in names
    assert "matchlake/io/secrets/scopes.py" in names
    assert "matchlake/py.typed" in names
    assert [name for name in names if "sandbox" in name] == []


def test_it_asks_for_no_spark(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    needed = [line for line in lines if line.startswith("Requires-Dist: ")]
    always = [line for line in needed if "extra ==" not in line]
    assert any("databricks-sdk" in line for line in always)
    assert not [line for line in always if "pyspark" in line or "delta-spark" in line]


def test_its_command_line_works_without_spark_and_sandbox(programs: Path, tmp_path: Path) -> None:
    assert run(tmp_path, programs / "python", "-c", "import pyspark").returncode == 1
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
    told = "import sys, matchlake.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = run(tmp_path, sys.executable, "-c", told)
    assert done.returncode == 0, done.stderr
    assert not {"pyspark", *HEAVY} & {*done.stdout.split()}
