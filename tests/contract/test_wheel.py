"""The wheel that goes to a platform: no stand-in is in it, and its command line works without."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.programs import shell_environment
from tests.support.sources import ROOT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, built from a copy of the source."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def test_no_stand_in_is_in_it(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert "matchlake/cli.py" in names
    assert "matchlake/io/secrets/scopes.py" in names
    assert "matchlake/py.typed" in names
    assert [name for name in names if "sandbox" in name] == []


def test_its_command_line_works_without_the_sandbox(unpacked: Path, tmp_path: Path) -> None:
    environment = shell_environment(PYTHONPATH=str(unpacked))
    command = [sys.executable, "-c", "from matchlake.cli import main; main()", "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "secrets" in done.stdout
    assert "sandbox" not in done.stdout
