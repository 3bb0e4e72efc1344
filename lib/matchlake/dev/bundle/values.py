"""Dynamic values of a running workflow, such as `{{job.parameters.env}}`."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from matchlake.dev.bundle.tree import Keyed, leaves
from matchlake.errors import BundleError

VALUE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_OF_EVERY_RUN = re.compile(
    r"job\.(id|name|run_id|repair_count|start_time\.\w+|trigger\.[\w.]+)"
    r"|task\.(name|run_id|execution_count|notebook_path)|workspace\.(id|url)|input(\.\w+)?"
)
_OF_A_TASK = re.compile(r"tasks\.([\w-]+)\.(run_id|result_state|error_code|execution_count)")
_TASK_VALUE = re.compile(r"tasks\.([\w-]+)\.values\.([\w-]+)")
_PARAMETER = re.compile(r"job\.parameters\.([\w.-]+)")
_SETTER = "set_task_value"


def named_values(task: Mapping[str, Any]) -> Iterator[str]:
    """Every dynamic value that a task refers to."""
    for _, text in leaves(task):
        if isinstance(text, str):
            yield from VALUE.findall(text)


def value_problem(name: str, job: Keyed, before: Iterable[str], scripts: Mapping[str, Path]) -> str:
    """The problem of the value `name` in a task that runs after `before`; empty without one.

    `scripts` are the Python files of the job's tasks, by task.
    """
    parameter, value, state = (
        pattern.fullmatch(name) for pattern in (_PARAMETER, _TASK_VALUE, _OF_A_TASK)
    )
    if parameter:
        declared = [each["name"] for each in job.get("parameters", [])]
        if parameter[1] not in declared:
            return f"the job declares no parameter {parameter[1]}: {', '.join(declared) or 'none'}"
    elif value or state:
        task = (value or state)[1]  # type: ignore[index]
        if task not in before:
            return f"task {task} does not run before this one"
        if value:
            known = values_set_by(scripts[task]) if task in scripts else ()
            if value[2] not in known:
                return (
                    f"no task sets the value {value[2]}: task {task} sets "
                    f"{', '.join(sorted(known)) or 'none'}"
                )
    elif not _OF_EVERY_RUN.fullmatch(name):
        return f"{{{{{name}}}}} is not known"
    return ""


@cache
def values_set_by(script: Path) -> frozenset[str]:
    """The task values that the source of a script sets."""
    result = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == _SETTER and isinstance(node.args[0], ast.Constant):
                result.add(str(node.args[0].value))
    return frozenset(result)


def filled(text: str, values: Mapping[str, Any]) -> str:
    """`text` with its dynamic values; raises BundleError for an unknown one."""

    def one(hit: re.Match[str]) -> str:
        if hit[1] not in values:
            raise BundleError(f"{hit[0]} has no value: there is {', '.join(sorted(values))}.")
        return str(values[hit[1]])

    return VALUE.sub(one, text)


def holds(condition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the comparison of a condition task is true; two numbers are compared as numbers."""
    left, right = (filled(str(condition[side]), values) for side in ("left", "right"))
    match condition["op"]:
        case "EQUAL_TO":
            return left == right
        case "NOT_EQUAL":
            return left != right
    try:
        a, b = float(left), float(right)
    except ValueError:
        raise BundleError(
            f"{condition['op']} compares numbers, not {left!r} with {right!r}."
        ) from None
    orders = {
        "GREATER_THAN": a > b,
        "GREATER_THAN_OR_EQUAL": a >= b,
        "LESS_THAN": a < b,
        "LESS_THAN_OR_EQUAL": a <= b,
    }
    return orders[condition["op"]]
