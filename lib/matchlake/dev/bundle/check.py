"""Checks all targets of a bundle."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matchlake.config import load_config
from matchlake.dev.bundle.endpoint_rules import endpoint_rules
from matchlake.dev.bundle.online_rules import online_rules
from matchlake.dev.bundle.package_rules import package_rules
from matchlake.dev.bundle.permission_rules import permission_rules
from matchlake.dev.bundle.resolve import Resolved, read_bundle, resolve, walk_tasks
from matchlake.dev.bundle.rules import conf_rules, job_rules, production_rules
from matchlake.dev.bundle.shapes import type_problems
from matchlake.dev.bundle.tasks import task_problems
from matchlake.dev.bundle.tree import Problem, leaves, problem
from matchlake.errors import ConfigError

_MODULES = {
    "jobs": ("databricks.bundles.jobs", "Job"),
    "schemas": ("databricks.bundles.schemas", "Schema"),
    "volumes": ("databricks.bundles.volumes", "Volume"),
}


@dataclass(frozen=True)
class Checked:
    """The problems of one target, and how many jobs, tasks, resources and values were checked."""

    target: str
    jobs: int
    tasks: int
    resources: int
    values: int
    problems: tuple[Problem, ...]


def check_bundle(
    root: Path,
    variables: Mapping[str, Any] | None = None,
    targets: Sequence[str] | None = None,
) -> list[Checked]:
    """Checks the bundle in `root` for the named targets, or all.

    Raises BundleError if it cannot be read, or if it has no such target.
    """
    tree = read_bundle(root)
    result = []
    for target in targets or tree.get("targets", {}):
        resolved = resolve(tree, target, variables)
        problems = sorted(set(target_problems(resolved, root, _job_overrides(variables))))
        groups = resolved.tree.get("resources", {}).values()
        result.append(
            Checked(
                target,
                len(resolved.jobs),
                sum(1 for _ in walk_tasks(resolved)),
                sum(map(len, groups)),
                sum(1 for _ in leaves(resolved.tree)),
                tuple(problems),
            )
        )
    return result


def _job_overrides(variables: Mapping[str, Any] | None) -> list[str]:
    """The `--set` values of the jobs' conf that the given variables set."""
    return [f"catalog={variables['catalog']}"] if variables and "catalog" in variables else []


def target_problems(
    resolved: Resolved, root: Path, overrides: Sequence[str] = ()
) -> Iterator[Problem]:
    """The problems of one resolved target; its conf is checked with `overrides`.

    If types are wrong, only these problems and those of the resolution are found.
    """
    wrong = [*type_problems(resolved.tree), *bundles_problems(resolved)]
    yield from (*resolved.problems, *wrong)
    if wrong:  # the other checks need correct types
        return
    yield from task_problems(resolved, root)
    yield from job_rules(resolved)
    yield from package_rules(resolved, root)
    yield from permission_rules(resolved)
    yield from endpoint_rules(resolved)
    if resolved.production:
        yield from production_rules(resolved)
    try:
        config = load_config(resolved.target, overrides, conf_dir=root / "conf")
    except ConfigError as error:
        yield problem(resolved.tree, (), f"target {resolved.target} is no environment: {error}")
        return
    yield from conf_rules(resolved, config)
    yield from online_rules(resolved, config)


def has_bundles() -> bool:
    """Whether databricks-bundles is installed; its licence is for Databricks customers."""
    return (
        importlib.util.find_spec("databricks") is not None
        and importlib.util.find_spec("databricks.bundles") is not None
    )


def bundles_problems(resolved: Resolved) -> Iterator[Problem]:
    """Problems that databricks-bundles finds; none if it is not installed."""
    if not has_bundles():
        return
    for kind, (module, name) in _MODULES.items():
        resource_type = getattr(importlib.import_module(module), name)
        for key, each in resolved.tree.get("resources", {}).get(kind, {}).items():
            try:
                resource_type.from_dict(dict(each))
            except (TypeError, ValueError) as error:
                text = f"databricks-bundles refuses this resource: {error}"
                yield problem(resolved.tree, ("resources", kind, key), text)
