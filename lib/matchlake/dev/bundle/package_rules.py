"""Rules on what jobs install: each package by its hash, and nothing besides."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from matchlake.dev.bundle.artifacts import LOCK, REQUIREMENTS
from matchlake.dev.bundle.locks import canonical, locked_packages
from matchlake.dev.bundle.resolve import Resolved, walk_jobs, walk_tasks
from matchlake.dev.bundle.tree import Path_, Problem, problem

_NAME = re.compile(r"[\w.-]+")


def package_rules(resolved: Resolved, root: Path) -> Iterator[Problem]:
    """Problems of libraries, of dependencies of serverless tasks, and of the lock behind them."""
    tree = resolved.tree
    file = f"{tree['workspace']['file_path']}/{REQUIREMENTS}"
    for path, text in (*_library_texts(resolved, file), *_dependency_texts(resolved, file)):
        yield problem(tree, path, text)
    if not any(each.get("type") == "whl" for each in tree.get("artifacts", {}).values()):
        yield problem(tree, ("artifacts",), f"no artifact builds {REQUIREMENTS}")
    for text in _lock_texts(root):
        yield problem(tree, ("artifacts",), text)


def _library_texts(resolved: Resolved, file: str) -> Iterator[tuple[Path_, str]]:
    for path, task, _ in walk_tasks(resolved):
        libraries = task.get("libraries", [])
        if "job_cluster_key" in task and not libraries:
            yield path, f"installs nothing: libraries must be requirements: {file}"
        for at, library in enumerate(libraries):
            if dict(library) != {"requirements": file}:
                yield (*path, "libraries", at), _without_hashes(dict(library), file)


def _dependency_texts(resolved: Resolved, file: str) -> Iterator[tuple[Path_, str]]:
    for path, job in walk_jobs(resolved):
        for at, each in enumerate(job.get("environments", [])):
            for number, named in enumerate(each.get("spec", {}).get("dependencies", [])):
                if named != f"-r {file}":
                    where = (*path, "environments", at, "spec", "dependencies", number)
                    yield where, _without_hashes(named, f"-r {file}")


def _without_hashes(named: object, expected: str) -> str:
    return f"{named!r} is installed without a hash: only {expected} is allowed"


def _lock_texts(root: Path) -> Iterator[str]:
    """What the lock lacks, compared with the dependencies of the project."""
    if not (root / LOCK).is_file():
        yield f"there is no {LOCK}, of which {REQUIREMENTS} is made: `make lock` writes it"
        return
    packages = list(locked_packages(root / LOCK))
    for each in packages:
        if not each.hashed:
            yield f"{each.name} has no hash in {LOCK}: `make lock` writes it again"
    project = root / "pyproject.toml"
    if not project.is_file():  # a project of `matchlake init` installs the released package
        return
    settings = tomllib.loads(project.read_text(encoding="utf-8"))
    names = {canonical(each.name) for each in packages}
    for needed in settings["project"]["dependencies"]:
        match = _NAME.match(needed)
        if match and canonical(match[0]) not in names:
            yield f"{match[0]} of pyproject.toml is not in {LOCK}: `make lock` adds it"
