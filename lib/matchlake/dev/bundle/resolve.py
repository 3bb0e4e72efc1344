"""A bundle as one target deploys it: joins files, merges the target, replaces references.

This is what the Databricks CLI does before it connects to a workspace.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matchlake.dev.bundle.tree import Keyed, Path_, Problem, merge, problem, read_yaml
from matchlake.errors import BundleError

_REFERENCE = re.compile(r"\$\{([A-Za-z][\w.\[\]-]*)\}")
_DEPTH = 10
USER = "someone"
"""A placeholder for the short name of the person who deploys."""
_OF_TARGETS = ("variables", "default", "mode")
_OF_VARIABLES = {"default", "description", "lookup", "type"}
_FIRST_JOB_ID = 1001


@dataclass(frozen=True)
class Resolved:
    """The tree of one target, and the references without a value."""

    target: str
    tree: Keyed
    problems: tuple[Problem, ...]
    job_ids: Mapping[int, str] = field(default_factory=dict)
    """The job of each id; the ids are invented, a workspace gives real ones."""

    @property
    def jobs(self) -> dict[str, Keyed]:
        """The jobs by their key."""
        return dict(self.tree.get("resources", {}).get("jobs", {}))

    @property
    def production(self) -> bool:
        """Whether the target has mode production."""
        return bool(self.tree["bundle"].get("mode") == "production")


def read_bundle(root: Path) -> Keyed:
    """databricks.yml in `root` with its includes; raises BundleError if it cannot be read."""
    main = root / "databricks.yml"
    if not main.is_file():
        raise BundleError(f"No databricks.yml in {root}: run from the project's folder.")
    tree = read_yaml(root, main)
    for pattern in tree.get("include", []):
        matches = sorted(root.glob(pattern))
        if not matches:
            raise BundleError(f"databricks.yml includes {pattern}, but there is no such file.")
        for path in matches:
            tree = _joined(tree, read_yaml(root, path))
    return tree


def _joined(tree: Keyed, more: Keyed) -> Keyed:
    for kind, resources in more.get("resources", {}).items():
        twice = set(resources) & set(tree.get("resources", {}).get(kind, {}))
        if twice:
            raise BundleError(f"{more.file}: {kind} {', '.join(twice)} is declared already.")
    merged: Keyed = merge(tree, more)
    return merged


def resolve(tree: Keyed, target: str, variables: Mapping[str, Any] | None = None) -> Resolved:
    """The bundle as `target` deploys it; `variables` override, as `--var` does."""
    targets = tree.get("targets", {})
    if target not in targets:
        raise BundleError(f"No target {target!r}: there is {', '.join(targets)}.")
    chosen = targets[target] or Keyed()
    rest = {key: value for key, value in tree.items() if key not in ("targets", "include")}
    over = {key: value for key, value in chosen.items() if key not in _OF_TARGETS}
    whole: Keyed = merge(tree.like(rest), chosen.like(over))
    about = {"target": target} | ({"mode": chosen["mode"]} if "mode" in chosen else {})
    settings = whole.get("bundle", Keyed(tree.file))
    whole["bundle"] = settings.like({**settings, **about})
    values, problems = _variables(tree, chosen, variables or {})
    whole["workspace"] = _workspace(whole, target)
    whole = _with_presets(whole)
    names = _References(whole, values)
    filled = names.fill(whole, ())
    return Resolved(target, filled, (*problems, *names.problems), names.job_ids)


def _variables(
    tree: Keyed, chosen: Keyed, overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The value of each variable in a target; a variable without a value is left out."""
    declared, target_variables = tree.get("variables", {}), chosen.get("variables", {})
    values: dict[str, Any] = {}
    for name, variable in declared.items():
        for source in (
            overrides.get(name),
            _chosen(target_variables.get(name)),
            _chosen(variable or {}),
        ):
            if source is not None:
                values[name] = source
                break
    unknown = [name for name in (*target_variables, *overrides) if name not in declared]
    return values, [
        problem(chosen, ("variables", name), f"no variable {name} is declared") for name in unknown
    ]


def _chosen(variable: Any) -> Any:
    """The value of a variable's declaration: a value, a default or a look-up."""
    if not isinstance(variable, dict) or not variable.keys() <= _OF_VARIABLES:
        return variable
    if "lookup" in variable:
        kind, name = next(iter(variable["lookup"].items()))
        return f"<id of {kind} {name}>"
    return variable.get("default")


def _workspace(whole: Keyed, target: str) -> Keyed:
    workspace: Keyed = whole.get("workspace", Keyed(whole.file))
    home = f"/Workspace/Users/{USER}@example.com"
    root = workspace.get("root_path", f"{home}/.bundle/{whole['bundle'].get('name')}/{target}")
    paths = {f"{name}_path": f"{root}/{name}s" for name in ("file", "artifact", "resource")}
    user = {"userName": f"{USER}@example.com", "short_name": USER, "domain_friendly_name": USER}
    known = {"host": "https://workspace", "root_path": root, **paths}
    return workspace.like({**known, **workspace, "current_user": user})


def _with_presets(whole: Keyed) -> Keyed:
    """Adds prefixes, tags and pauses of a target's mode and presets."""
    presets = dict(whole.get("presets", {}))
    if whole["bundle"].get("mode") == "development":
        presets.setdefault("name_prefix", f"[dev {USER}] ")
        presets.setdefault("trigger_pause_status", "PAUSED")
        presets["tags"] = {"dev": USER, **presets.get("tags", {})}
    prefix, pause = presets.get("name_prefix", ""), presets.get("trigger_pause_status")
    plain = re.sub(r"[^A-Za-z0-9]+", "_", prefix.strip("[ ]")) + "_" if prefix else ""
    skip = whole.get("experimental", {}).get("skip_name_prefix_for_schema")
    resources = whole.get("resources", Keyed())
    made: dict[str, Any] = {}
    for kind, group in resources.items():
        made[kind] = group.like({
            key: _preset(kind, each, {"name": prefix, "plain": plain, "skip": skip, "pause": pause,
                                      "tags": presets.get("tags", {})})
            for key, each in group.items()
        })  # fmt: skip
    return whole.like({**whole, "resources": resources.like(made)})


def _preset(kind: str, resource: Keyed, presets: Mapping[str, Any]) -> Keyed:
    made = resource.like(resource)
    match kind:
        case "jobs":
            made["name"] = f"{presets['name']}{made.get('name', '')}"
            if presets["tags"]:
                made["tags"] = {**presets["tags"], **made.get("tags", {})}
            for key in ("schedule", "continuous", "trigger"):
                if key in made and presets["pause"]:
                    made[key] = made[key].like({"pause_status": presets["pause"], **made[key]})
        case "model_serving_endpoints":
            made["name"] = f"{presets['plain']}{made.get('name', '')}"
        case "experiments":
            folder, slash, name = str(made.get("name", "")).rpartition("/")
            made["name"] = f"{folder}{slash}{presets['name']}{name}"
        case "registered_models":
            made["name"] = f"{presets['plain']}{made.get('name', '')}"
        case "schemas" if not presets["skip"]:
            made["name"] = f"{presets['plain']}{made.get('name', '')}"
        case "alerts" | "dashboards":
            made["display_name"] = f"{presets['name']}{made.get('display_name', '')}"
    return made


class _References:
    """Replaces each `${...}` by its value; records missing ones as problems."""

    def __init__(self, whole: Keyed, variables: Mapping[str, Any]) -> None:
        self._whole = whole
        self._variables = variables
        self.problems: list[Problem] = []
        jobs = whole.get("resources", {}).get("jobs", {})
        self.job_ids = {_FIRST_JOB_ID + at: key for at, key in enumerate(jobs)}

    def fill(self, value: Any, path: Path_) -> Any:
        """`value` with references replaced; a reference that is the whole text keeps its type."""
        if isinstance(value, Keyed):
            return value.like({key: self.fill(each, (*path, key)) for key, each in value.items()})
        if isinstance(value, dict):
            return {key: self.fill(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self.fill(each, (*path, at)) for at, each in enumerate(value)]
        if not isinstance(value, str) or path[:1] == ("variables",):
            return value
        return self._text(value, path)

    def _text(self, text: str, path: Path_) -> Any:
        value: Any = text
        for _ in range(_DEPTH):
            if not isinstance(value, str):
                return self.fill(value, path)
            if not _REFERENCE.search(value):
                return value
            whole = _REFERENCE.fullmatch(value)
            value = (
                self._look_up(whole[1], path)
                if whole
                else _REFERENCE.sub(lambda hit: str(self._look_up(hit[1], path)), value)
            )
        self.problems.append(problem(self._whole, path, f"{text} refers to itself"))
        return ""

    def _look_up(self, name: str, path: Path_) -> Any:
        scope, *rest = name.split(".")
        match scope, rest:
            case "var", [key]:
                if key in self._variables:
                    return self._variables[key]
                there = self._whole.get("variables", {})
                unset = "is not set and has no default"
                known = f"is not declared; there is {', '.join(there) or 'none'}"
                self._missing(path, name, unset if key in there else known)
            case "resources", [kind, key, attribute]:
                value = self._resource(kind, key, attribute)
                if value is not None:
                    return value
                self._missing(path, name, "refers to no such resource or attribute")
            case (("bundle" | "workspace"), [*keys]):
                value = self._whole.get(scope)
                for key in keys:
                    value = value.get(key) if isinstance(value, dict) else None
                if value is not None:
                    return value
                self._missing(path, name, "is not known")
            case _:
                self._missing(path, name, "begins with none of var, bundle, workspace, resources")
        return ""

    def _resource(self, kind: str, key: str, attribute: str) -> Any:
        resource = self._whole.get("resources", {}).get(kind, {}).get(key)
        if resource is None:
            return None
        named = (resource.get("catalog_name"), resource.get("schema_name"), resource.get("name"))
        full = ".".join(str(part) for part in named if part)
        match kind, attribute:
            case "jobs", "id":
                return next(number for number, job in self.job_ids.items() if job == key)
            case (("schemas" | "volumes" | "registered_models"), ("id" | "full_name")):
                return full
            case "volumes", "volume_path":
                return "/Volumes/" + full.replace(".", "/")
            case _, "id":
                return resource.get("name", key)
        return resource.get(attribute)

    def _missing(self, path: Path_, name: str, text: str) -> None:
        self.problems.append(problem(self._whole, path, f"${{{name}}} {text}"))


def walk_jobs(resolved: Resolved) -> Iterator[tuple[Path_, Keyed]]:
    """Every job with its path."""
    for key, job in resolved.jobs.items():
        yield ("resources", "jobs", key), job


def walk_tasks(resolved: Resolved) -> Iterator[tuple[Path_, Keyed, Keyed]]:
    """Every task with its path and its job."""
    for path, job in walk_jobs(resolved):
        for at, task in enumerate(job.get("tasks", [])):
            yield (*path, "tasks", at), task, job
