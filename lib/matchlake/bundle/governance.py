"""The SQL of grants and tags: read into plain statements, and held to the tables there are.

Local Spark knows neither grants nor tags, so nothing of it is executed here: what can be wrong
without a workspace is a form, a privilege, or the name of a table or a column.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from databricks.sdk.service.catalog import Privilege

from matchlake.errors import BundleError

_NAME = r"[a-z_]\w*"
_TAGS = r"SET TAGS \((?P<tags>'[\w.]+' = '[\w ./-]*'(?:, '[\w.]+' = '[\w ./-]*')*)\)"
_FORMS = (
    re.compile(r"USE CATALOG IDENTIFIER\(:catalog\)"),
    re.compile(rf"ALTER TABLE (?P<table>{_NAME}\.{_NAME}) {_TAGS}"),
    re.compile(
        rf"ALTER TABLE (?P<table>{_NAME}\.{_NAME}) ALTER COLUMN (?P<column>{_NAME}) {_TAGS}"
    ),
    re.compile(
        rf"(?:GRANT|REVOKE) (?P<privileges>[A-Z ,]+) ON TABLE (?P<table>{_NAME}\.{_NAME})"
        r" (?:TO|FROM) `[\w .@-]+`"
    ),
    re.compile(
        rf"(?:GRANT|REVOKE) (?P<privileges>[A-Z ,]+) ON SCHEMA (?P<schema>{_NAME})"
        r" (?:TO|FROM) `[\w .@-]+`"
    ),
)


@dataclass(frozen=True)
class Rule:
    """One statement: what it speaks of."""

    line: int
    text: str
    table: str | None = None
    column: str | None = None
    tags: str | None = None


def read_rules(path: Path) -> list[Rule]:
    """The statements of a file; raises BundleError for one of a form that is not known."""
    return [_rule(path, line, text) for line, text in _statements(path.read_text("utf-8"))]


def _statements(text: str) -> Iterator[tuple[int, str]]:
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.partition("--")[0].strip()
        if code:
            lines.append(code)
        if code.endswith(";"):
            yield number, " ".join(" ".join(lines).removesuffix(";").split())
            lines = []
    if lines:
        yield number, " ".join(lines)


def _rule(path: Path, line: int, text: str) -> Rule:
    found = next((hit for form in _FORMS if (hit := form.fullmatch(text))), None)
    if found is None:
        raise BundleError(f"{path.name}:{line}: no grant, no tag, or not of a known form: {text}")
    parts = found.groupdict()
    known = {privilege.value.replace("_", " ") for privilege in Privilege}
    for privilege in (parts.get("privileges") or "").split(","):
        if privilege.strip() not in {*known, ""}:
            raise BundleError(f"{path.name}:{line}: {privilege.strip()} is no privilege.")
    return Rule(line, text, parts.get("table"), parts.get("column"), parts.get("tags"))


def check_rules(path: Path, columns: Callable[[str], list[str] | None]) -> int:
    """Holds every statement to the tables; raises BundleError, else gives their number.

    `columns` gives those of a table, None where it is not there.
    """
    rules = read_rules(path)
    for rule in rules:
        there = columns(rule.table) if rule.table else []
        if there is None:
            raise BundleError(f"{path.name}:{rule.line}: there is no table {rule.table}.")
        if rule.column and rule.column not in there:
            raise BundleError(
                f"{path.name}:{rule.line}: {rule.table} has no column {rule.column}; it has "
                f"{', '.join(there)}."
            )
    return len(rules)
