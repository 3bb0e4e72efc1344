"""The tree: what is committed, what is ignored, what no file may mention, what pages say."""

import re
import subprocess
import tomllib

import pytest
from tests.support.sources import ROOT

TOP = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    "SECURITY.md",
    *("conf", "databricks.yml", "jobs", "lib", "notebooks", "pyproject.toml", "tests"),
    *("requirements.lock", "requirements-bench.lock", "requirements-data.lock"),
    *(
        "requirements-runtime.lock",
        "requirements-deep.lock",
        "requirements-torch.lock",
        "requirements-job.lock",
        "requirements-build.lock",
    ),
}
# The registry is a setting of the machine; a lock names packages, never their source.
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|repo1?\.maven|mvnrepository|jfrog|artifactory|nexus|ghcr\.io|"
    r"docker\.io|index-url|find-links|trusted-host",
    re.IGNORECASE,
)
PLACES = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
# They name what they forbid, or an option for a folder or against a path in a lock.
EXEMPT = {
    *("tests/contract/test_tree.py", "Makefile", "CONTRIBUTING.md"),
    "lib/matchlake/model_store/export_wheels.py",
}


@pytest.fixture(scope="module")
def committed() -> list[str]:
    """All files under version control; none where the tree is not a git work tree."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git work tree")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_top_level_holds_only_the_designed_entries(committed: list[str]) -> None:
    assert {name.partition("/")[0] for name in committed} <= TOP


def test_gitignore_ignores_outputs_and_no_source() -> None:
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


def test_no_file_names_a_registry_or_a_machine_path(committed: list[str]) -> None:
    found = []
    for name in committed:
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        patterns = [PLACES] if name in EXEMPT else [REGISTRIES, PLACES]
        found += [f"{name}: {hit.group()}" for p in patterns if (hit := p.search(text))]
    assert found == []


def test_locks_are_hashed_and_name_no_url() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pinned = re.findall(r"^[\w.\[\]-]+==\S+", text, re.MULTILINE)
        assert pinned
        assert text.count("--hash=sha256:") >= len(pinned)


def test_each_job_has_its_yaml_and_pages_name_only_existing_jobs() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    yaml = "\n".join(path.read_text() for path in (ROOT / "jobs").glob("*.job.yml"))
    assert {job for job in jobs if f"python_file: {job}.py" not in yaml} == set()
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        named = set(re.findall(r"jobs/(\w+)\.py|matchlake run (\w+)", text))
        assert {name for pair in named for name in pair if name} <= jobs, page


def test_contributing_states_the_layers_of_the_import_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    stated = re.findall(r"`(cli -> [^`]*)`", text)
    assert [" ".join(line.split()) for line in stated] == [" -> ".join(layers)]
