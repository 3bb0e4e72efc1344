"""The tree: what is committed, what is ignored, and what no file may mention."""

import re
import subprocess

import pytest
from tests.support.sources import ROOT

TOP = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("conf", "databricks.yml", "jobs", "lib", "notebooks", "pyproject.toml", "tests"),
    *("requirements.lock", "requirements-bench.lock", "requirements-data.lock"),
    "requirements-runtime.lock",
}
# Where packages come from is a machine's own setting; a lock names what, never where.
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|repo1?\.maven|mvnrepository|jfrog|artifactory|nexus|ghcr\.io|"
    r"docker\.io|index-url|find-links|trusted-host",
    re.IGNORECASE,
)
PLACES = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
# They name what they forbid, or switch off what would write a place into a lock.
EXEMPT = {"tests/contract/test_tree.py", "Makefile", "CONTRIBUTING.md"}


@pytest.fixture(scope="module")
def committed() -> list[str]:
    """All files under version control; none where the tree is not a git work tree."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git work tree")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_top_level_is_as_designed(committed: list[str]) -> None:
    assert {name.partition("/")[0] for name in committed} <= TOP


def test_nothing_of_the_source_is_ignored() -> None:
    kept = [
        "lib/matchlake/new.py",
        "lib/matchlake/io/new.py",
        "jobs/new.py",
        "conf/new.yml",
        "tests/new.py",
        "notebooks/new.ipynb",
    ]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *kept, ".lakehouse/x", ".venv/x", "dist/x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.splitlines() == [".lakehouse/x", ".venv/x", "dist/x"]


def test_no_file_names_a_registry_or_a_place_on_one_machine(committed: list[str]) -> None:
    found = []
    for name in committed:
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        patterns = [PLACES] if name in EXEMPT else [REGISTRIES, PLACES]
        found += [f"{name}: {hit.group()}" for p in patterns if (hit := p.search(text))]
    assert found == []


def test_locks_are_hashed_and_name_no_place() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pinned = re.findall(r"^[\w.\[\]-]+==\S+", text, re.MULTILINE)
        assert pinned
        assert text.count("--hash=sha256:") >= len(pinned)


def test_each_job_has_its_yaml_and_readme_names_only_jobs_there_are() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    yaml = "\n".join(path.read_text() for path in (ROOT / "jobs").glob("*.job.yml"))
    assert {job for job in jobs if f"python_file: {job}.py" not in yaml} == set()
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        named = set(re.findall(r"jobs/(\w+)\.py|matchlake run (\w+)", text))
        assert {name for pair in named for name in pair if name} <= jobs, page
