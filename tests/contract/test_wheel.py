"""The wheel: its contents, its requirements, and its commands in a folder of conf/ and jobs/."""

import ast
import json
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.programs import shell_environment
from tests.support.sources import ROOT

LOCK = "requirements-job.lock"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


# What the platform brings; elsewhere the extra `spark`.
OF_PLATFORM = {"pyspark", "delta", "py4j"}
# Parts of numba and of pydantic; each requires the one version that fits.
PARTS = {"llvmlite", "pydantic_core"}
# Imported where it is installed: without it an error names no owner of a taken port.
OPTIONAL = {
    "matchlake/io/ports.py": {"psutil"},
    "matchlake/learners/xgboost.py": {"xgboost"},  # of the package xgboost or xgboost-cpu
}
PRODUCTION_COMMANDS = (
    *("sql", "sql-server", "profile", "streams status", "reconcile", "replay-quarantine"),
    *("erase-user", "secrets check", "run ingest_events"),
    *("run reconcile", "run replay_quarantine", "run erase_user"),
)
RUN_EACH = """
import io, json, sys
from contextlib import redirect_stderr
answers = {}
for command in sys.argv[1:]:
    sys.argv = ["matchlake", *command.split()]
    with redirect_stderr(io.StringIO()) as errors:
        from matchlake.cli import main
        main._err.file = errors
        try:
            main.main()
        except SystemExit as ended:
            answers[command] = (ended.code or 0, errors.getvalue())
sys.stderr.write(json.dumps(answers))
"""
# The command itself needs the extra `local`, which this Python lacks.
INIT = """
from pathlib import Path
from matchlake.dev.init.project import Example, create_project
create_project(Path("shop"), Example.SHOP, None)
"""
SLOW = {"kafka", "mlflow", "numba", "pandas", "pyarrow"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "databricks.yml", LOCK):
        shutil.copy(ROOT / name, copy / name)
    for name in ("conf", "jobs", "notebooks"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copytree(ROOT / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.egg-info"))
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new Python that has the wheel, without extras."""
    return new_python(wheel, tmp_path_factory.mktemp("clean"), requirements(wheel))


@pytest.fixture(scope="module")
def programs_with_spark(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new Python that has the wheel with the extra `spark`."""
    required = [*requirements(wheel), *requirements(wheel, "spark")]
    return new_python(wheel, tmp_path_factory.mktemp("spark"), required)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that holds conf/ and jobs/ only."""
    for name in ("conf", "jobs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def new_python(wheel: Path, folder: Path, required: list[Requirement]) -> Path:
    """A virtual environment with the wheel and links to what it requires; its programs."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for path in files_of(required):
        if not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    (script,) = Distribution.at(next(packages.glob("matchlake-*.dist-info"))).entry_points
    module, _, attribute = script.value.partition(":")
    program = folder / "bin" / script.name
    program.write_text(f"#!{folder}/bin/python\nimport {module}\n{module}.{attribute}()\n")
    program.chmod(0o755)
    return folder / "bin"


def requirements(wheel: Path, extra: str = "") -> list[Requirement]:
    """What the wheel requires always, or for an extra alone."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or []
    required = [Requirement(line) for line in lines]
    return [
        each for each in required if needed(each, extra) and (not extra or not needed(each, ""))
    ]


def needed(requirement: Requirement, extra: str) -> bool:
    """Whether an installation with `extra` needs it here."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def files_of(required: list[Requirement]) -> set[Path]:
    """The installed files of these packages and of all that they require."""
    found: set[Path] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(each.name, extra) for each in required for extra in ("", *each.extras)]
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


def undeclared_imports(sources: dict[str, str], declared: list[Requirement]) -> dict[str, set[str]]:
    """The packages that each file imports and that none of the declared distributions brings."""
    names = {canonicalize_name(each.name) for each in declared}
    brought_by = packages_distributions()
    undeclared = {}
    for file, text in sources.items():
        others = imported(text) - sys.stdlib_module_names - OF_PLATFORM - PARTS - {"matchlake"}
        missing = {
            package
            for package in others - OPTIONAL.get(file, set())
            if names.isdisjoint(map(canonicalize_name, brought_by.get(package, [package])))
        }
        if missing:
            undeclared[file] = missing
    return undeclared


def imported(text: str) -> set[str]:
    """The top-level packages that a source imports, anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            packages |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add(str(node.module).partition(".")[0])
    return packages


def sources_of(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        return {name: archive.read(name).decode() for name in names}


def run_each(programs: Path, folder: Path, commands: list[str]) -> dict[str, tuple[int, str]]:
    """Runs commands of matchlake in one process; the exit code and stderr of each."""
    done = run(folder, programs / "python", "-c", RUN_EACH, *commands)
    assert done.returncode == 0, done.stderr
    return {command: tuple(answer) for command, answer in json.loads(done.stderr).items()}


def test_wheel_holds_every_room_and_the_locks_of_the_sandbox(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "matchlake/cli/main.py" in names
    assert "matchlake/io/secrets/scopes.py" in names
    assert "matchlake/py.typed" in names
    assert "matchlake/dev/sandbox/broker.lock" in names
    assert "matchlake/dev/sandbox/connectors.lock" in names
    assert "matchlake/dev/init/templates/base.yml" in names
    shipped = {name.partition("share/matchlake/project/")[2] for name in names}
    assert {"databricks.yml", LOCK, "jobs/recommend.py", "jobs/recommend.job.yml"} <= shipped
    assert {"conf/base.yml", "conf/data/movielens.yml", "notebooks/features.py"} <= shipped


def test_wheel_makes_a_project_outside_any_clone(programs_with_spark: Path, tmp_path: Path) -> None:
    done = run(tmp_path, programs_with_spark / "python", "-c", INIT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shop" / "jobs" / "recommend.py").is_file()
    assert (tmp_path / "shop" / "databricks.yml").is_file()


def test_wheel_requires_no_spark_and_nothing_of_the_extra_local(wheel: Path) -> None:
    names = {each.name for each in requirements(wheel)}
    assert "databricks-sdk" in names
    assert not names & {"pyspark", "delta-spark"}
    local = {each.name for each in requirements(wheel, "local")}
    assert local
    assert not names & local


def test_wheel_requires_whatever_its_production_rooms_import(wheel: Path) -> None:
    sources = {n: t for n, t in sources_of(wheel).items() if not n.startswith("matchlake/dev/")}
    assert {"mlflow", "kafka", "databricks"} <= set().union(*map(imported, sources.values()))
    extras = [
        "duckdb",
        "images",
        "keras",
        "models",
        "online",
        "search",
        "serve",
        "telemetry",
        "torch",
        "xgboost",
    ]
    declared = [*requirements(wheel), *(r for e in extras for r in requirements(wheel, e))]
    assert undeclared_imports(sources, declared) == {}


def test_extra_local_requires_whatever_dev_imports(wheel: Path) -> None:
    sources = {n: t for n, t in sources_of(wheel).items() if n.startswith("matchlake/dev/")}
    local = requirements(wheel, "local")
    assert undeclared_imports(sources, [*requirements(wheel), *local]) == {}
    needed_by_dev = set().union(*undeclared_imports(sources, requirements(wheel)).values())
    assert needed_by_dev == {each.name for each in local}


def test_help_without_spark_and_local_lists_all_commands(programs: Path, project: Path) -> None:
    for absent in ("pyspark", "psutil", "pytest"):
        assert run(project, programs / "python", "-c", f"import {absent}").returncode == 1
    done = run(project, programs / "matchlake", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("secrets", "run", "reconcile", "erase-user", "bundle", "sandbox"):
        assert f" {command} " in done.stdout


def test_command_without_spark_names_the_extra_spark(programs: Path, project: Path) -> None:
    done = run(project, programs / "matchlake", "reconcile")
    assert done.returncode == 1
    assert "pip install 'matchlake[spark]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_production_commands_work_without_the_extra_local(
    programs_with_spark: Path, project: Path
) -> None:
    commands = [f"{name} --help" for name in PRODUCTION_COMMANDS]
    answers = run_each(programs_with_spark, project, [*commands, "run --help"])
    assert {command: error for command, (code, error) in answers.items() if code} == {}


def test_dev_command_without_the_extra_local_names_it(
    programs_with_spark: Path, project: Path
) -> None:
    answers = run_each(programs_with_spark, project, ["sandbox status", "doctor", "demo"])
    for code, error in answers.values():
        assert code == 1
        assert "Install it with pip install 'matchlake[local]'" in error
        assert "Traceback" not in error


def test_help_imports_no_dev_module_and_nothing_slow(tmp_path: Path) -> None:
    code = "import sys, matchlake.cli.main; print(*sys.modules)"
    done = run(tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.split()
    assert not {"pyspark", *SLOW} & {name.partition(".")[0] for name in modules}
    assert [name for name in modules if name.startswith("matchlake.dev")] == []
