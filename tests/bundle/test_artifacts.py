"""What the bundle's artifact builds: a wheel, its requirements with hashes, and an SBOM."""

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.dev.bundle import artifacts
from matchlake.dev.bundle.locks import Locked, locked_jars, locked_packages

LOCK = """# comment
some-package==1.2.0 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
some-package==1.3.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
Other.Package[extra]==2.0
"""


def test_a_lock_is_read_with_its_hashes(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(LOCK)
    assert list(locked_packages(lock)) == [
        Locked("PyPI", "some-package", "1.2.0", hashed=True),
        Locked("PyPI", "some-package", "1.3.0", hashed=True),
        Locked("PyPI", "Other.Package", "2.0", hashed=False),
    ]
    assert [each.purl for each in locked_packages(lock)][-1] == "pkg:pypi/other-package@2.0"
    jars = list(locked_jars(ROOT / "lib/matchlake/dev/sandbox/connectors.lock"))
    assert "pkg:maven/io.delta/delta-storage@4.4.0" in [each.purl for each in jars]
    assert len(jars) == 11


def test_the_job_lock_holds_what_the_project_needs_and_no_spark() -> None:
    packages = {each.name: each for each in locked_packages(ROOT / artifacts.LOCK)}
    assert packages.keys() >= {"mlflow", "numba", "pydantic", "kafka-python", "databricks-sdk"}
    assert not packages.keys() & {"pyspark", "delta-spark", "pytest", "ruff", "matchlake"}
    assert all(each.hashed for each in packages.values())


def test_the_build_tools_are_those_of_the_project() -> None:
    tools = {each.name: each.version for each in locked_packages(ROOT / "requirements-build.lock")}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["build-system"]["requires"] == [f"setuptools=={tools['setuptools']}"]
    installed = {each.name: each.version for each in locked_packages(ROOT / "requirements.lock")}
    assert installed["setuptools"] == tools["setuptools"]
    assert f"TOOLS := uv=={tools['uv']} setup" in (ROOT / "Makefile").read_text()


def test_an_sbom_lists_each_package() -> None:
    bill = artifacts.software_bill("0.1.0", [Locked("PyPI", "some-package", "1.2.0", hashed=True)])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "0.1.0"
    assert [each["purl"] for each in bill["components"]] == ["pkg:pypi/some-package@1.2.0"]


@pytest.mark.soak
def test_pip_takes_the_wheel_by_its_hash_and_no_other(tmp_path: Path) -> None:
    """The line of the wheel, in the mode in which pip requires a hash of everything."""
    project, folder = tmp_path / "project", tmp_path / "dist"
    (project / "src").mkdir(parents=True)
    folder.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "probe"\nversion = "1.0"\n[tool.setuptools]\npackages = []\n'
    )
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=project, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(artifacts.wheel_line(wheel, str(tmp_path)))
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    install = [python, "-m", "pip", "install", "--no-index", "-r", str(requirements)]
    assert subprocess.run(install, check=False, capture_output=True).returncode == 0
    with wheel.open("ab") as changed:
        changed.write(b"more")
    refused = subprocess.run(
        [*install, "--force-reinstall"], check=False, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr


@pytest.mark.soak
def test_the_artifact_is_built_and_installs_with_its_hashes_alone(tmp_path: Path) -> None:
    root = tmp_path / "project"
    names = ("pyproject.toml", "README.md", "LICENSE", artifacts.LOCK, "requirements-build.lock")
    shutil.copytree(ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in (*names, "databricks.yml"):
        shutil.copy(ROOT / name, root)
    for folder in ("conf", "jobs", "notebooks"):
        shutil.copytree(ROOT / folder, root / folder)
    command = [sys.executable, "-m", "matchlake.dev.bundle.artifacts", str(root)]
    subprocess.run(command, cwd=root, check=True)
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    install = ("-m", "pip", "install", "--quiet", "-r", str(root / artifacts.REQUIREMENTS))
    subprocess.run([python, *install], check=True)
    subprocess.run([python, "-c", "import matchlake; import mlflow"], check=True, cwd=tmp_path)
    bill = json.loads((root / artifacts.SBOM).read_text())
    assert {each["name"] for each in bill["components"]} >= {"mlflow", "numba"}
