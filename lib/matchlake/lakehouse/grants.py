"""The SQL of grants and tags: parsed, checked against the existing tables, executed."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from databricks.sdk.service.catalog import Privilege

from matchlake.errors import ConfigError
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.scratch import LOCAL_CATALOGS

_log = logging.getLogger(__name__)

_NAME = r"[a-z_]\w*"
_TAGS = r"SET TAGS \((?P<tags>'[\w.]+' = '[\w ./-]*'(?:, '[\w.]+' = '[\w ./-]*')*)\)"
_FORMS = (
    re.compile(rf"ALTER TABLE (?P<table>{_NAME}\.{_NAME}) {_TAGS}"),
    re.compile(
        rf"ALTER TABLE (?P<table>{_NAME}\.{_NAME}) ALTER COLUMN (?P<column>{_NAME}) {_TAGS}"
    ),
    re.compile(
        rf"(?:GRANT|REVOKE) (?P<privileges>[A-Z ,]+) ON TABLE (?P<table>{_NAME}\.{_NAME})"
        r" (?:TO|FROM) `(?P<principal>[\w .@-]+)`"
    ),
    re.compile(
        rf"(?:GRANT|REVOKE) (?P<privileges>[A-Z ,]+) ON SCHEMA (?P<schema>{_NAME})"
        r" (?:TO|FROM) `(?P<principal>[\w .@-]+)`"
    ),
)


@dataclass(frozen=True)
class Rule:
    """One statement, with the table, column, tags and principal that it names."""

    line: int
    text: str
    table: str | None = None
    column: str | None = None
    tags: str | None = None
    principal: str | None = None


def read_rules(path: Path) -> list[Rule]:
    """The statements of a file; raises ConfigError for a statement of an unknown form."""
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
    match = next((hit for form in _FORMS if (hit := form.fullmatch(text))), None)
    if match is None:
        raise ConfigError(
            f"{path.name}:{line}: this is neither a grant nor a tag of a known form: {text}"
        )
    parts = match.groupdict()
    known = {privilege.value.replace("_", " ") for privilege in Privilege}
    for privilege in (parts.get("privileges") or "").split(","):
        if privilege.strip() not in {*known, ""}:
            raise ConfigError(f"{path.name}:{line}: {privilege.strip()} is not a privilege.")
    names = (parts.get(key) for key in ("table", "column", "tags", "principal"))
    return Rule(line, text, *names)


def check_rules(
    path: Path, columns: Callable[[str], list[str] | None]
) -> tuple[list[Rule], list[str]]:
    """The statements on existing tables and views, and the names of the missing ones.

    `columns` returns the columns of a table or view, or None if it is missing. Raises ConfigError
    for a column that a table does not have.
    """
    rules = read_rules(path)
    tables = {rule.table: columns(rule.table) for rule in rules if rule.table}
    for rule in rules:
        known = tables.get(rule.table or "")
        if rule.column and known is not None and rule.column not in known:
            raise ConfigError(
                f"{path.name}:{rule.line}: {rule.table} has no column {rule.column}; it has "
                f"{', '.join(known)}."
            )
    missing = [str(table) for table, known in tables.items() if known is None]
    return [rule for rule in rules if rule.table not in missing], missing


def apply_rules(lakehouse: Lakehouse, path: Path) -> None:
    """Executes the statements on existing tables and views; logs the missing ones.

    Only Unity Catalog has grants. Without it the statements are checked and not executed.
    """
    rules, missing = check_rules(
        path, lambda name: lakehouse.read(name).columns if lakehouse.exists(name) else None
    )
    has_grants = lakehouse.catalog not in LOCAL_CATALOGS
    for rule in rules if has_grants else ():
        lakehouse.spark.sql(rule.text)
    if missing:
        _log.warning(
            "these tables do not exist yet, their statements are skipped: %s", ", ".join(missing)
        )
    _log.info(
        "%d statement(s) %s", len(rules), "executed" if has_grants else "checked, none executed"
    )
