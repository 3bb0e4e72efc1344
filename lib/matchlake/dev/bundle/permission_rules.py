"""Rules on permissions: who reads secrets and runs, and who changes what runs in production.

The CLI gives the permissions of a target to each of its resources: on a secret scope CAN_MANAGE
becomes MANAGE, and CAN_VIEW becomes READ.
"""

from collections.abc import Iterator
from typing import Any

from matchlake.dev.bundle.resolve import Resolved
from matchlake.dev.bundle.tree import Path_, Problem, problem

ANALYSTS = "analysts"
"""The group that reads tables without data of single persons (conf/grants.sql)."""
_WHO = ("service_principal_name", "group_name", "user_name")
_READS_SCOPES = ("CAN_MANAGE", "CAN_VIEW")
_CHANGES_JOBS = ("CAN_MANAGE", "CAN_MANAGE_RUN", "IS_OWNER")
_Given = Iterator[tuple[Path_, str, str]]


def permission_rules(resolved: Resolved) -> Iterator[Problem]:
    """Problems of permissions on scopes and experiments, and in production on jobs."""
    runner = _principal(resolved.tree.get("run_as", {})) if resolved.production else None
    for rule in (_scope_texts, _experiment_texts, _job_texts):
        for path, text in rule(resolved, runner):
            yield problem(resolved.tree, path, text)


def _scope_texts(resolved: Resolved, runner: str | None) -> Iterator[tuple[Path_, str]]:
    """In production only the identity of the jobs has a permission on a scope."""
    if not resolved.tree.get("resources", {}).get("secret_scopes"):
        return
    for path, who, level in _of_target(resolved):
        text = f"{who} would read all secrets of the bundle's scope"
        if runner and who != runner and level in _READS_SCOPES:
            yield path, f"{text}; in production only run_as may: name it at each resource"
        elif not runner and level == "CAN_VIEW":
            yield path, f"{text}: name it at each resource"
    for path, who, _ in _of_resources(resolved, "secret_scopes"):
        if runner and who != runner:
            yield path, f"{who} would read the secrets of production; only run_as may"


def _experiment_texts(resolved: Resolved, _: str | None) -> Iterator[tuple[Path_, str]]:
    """Analysts cannot read runs: their artifacts hold ids of users."""
    for path, who, _level in (*_of_target(resolved), *_of_resources(resolved, "experiments")):
        if who == ANALYSTS and resolved.tree.get("resources", {}).get("experiments"):
            yield path, f"{who} could read the artifacts of runs, which hold ids of users"


def _job_texts(resolved: Resolved, runner: str | None) -> Iterator[tuple[Path_, str]]:
    """In production only the identity of the jobs changes and starts them."""
    if not runner:
        return
    for path, who, level in (*_of_target(resolved), *_of_resources(resolved, "jobs")):
        if who != runner and level in _CHANGES_JOBS:
            yield path, f"{who} could run code as {runner}: in production CAN_VIEW is allowed"


def _of_target(resolved: Resolved) -> _Given:
    yield from _entries(resolved.tree.get("permissions", []), ("permissions",))


def _of_resources(resolved: Resolved, kind: str) -> _Given:
    for key, each in resolved.tree.get("resources", {}).get(kind, {}).items():
        yield from _entries(each.get("permissions", []), ("resources", kind, key, "permissions"))


def _entries(permissions: Any, path: Path_) -> _Given:
    for at, each in enumerate(permissions):
        yield (*path, at), _principal(each) or "who is named", str(each.get("level"))


def _principal(entry: Any) -> str | None:
    return next((str(entry[key]) for key in _WHO if entry.get(key)), None)
