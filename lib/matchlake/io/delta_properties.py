"""Properties and constraints of Delta tables."""

import json
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.schemas import check_name, quote_identifier, quote_text

_CONSTRAINT = "delta.constraints."
"""Prefix of the property of a constraint; the name follows in lower case."""
_DECLARED = "matchlake.checks"
"""The property with the declared constraints as JSON, because Delta reformats their SQL."""


def read_properties(lake: Lakehouse, table: str) -> dict[str, str]:
    """All properties of the table, with its constraints as `delta.constraints.NAME`."""
    rows = lake.spark.sql(f"SHOW TBLPROPERTIES {lake.name(table)}").collect()
    return {row["key"]: row["value"] for row in rows}


def set_properties(lake: Lakehouse, table: str, properties: Mapping[str, str]) -> None:
    """Sets properties of the table in one commit; makes no commit if it already has them."""
    present = read_properties(lake, table)
    if any(present.get(key) != value for key, value in properties.items()):
        pairs = ", ".join(f"{quote_text(k)} = {quote_text(v)}" for k, v in properties.items())
        lake.spark.sql(f"ALTER TABLE {lake.name(table)} SET TBLPROPERTIES ({pairs})")


def drop_constraints(lake: Lakehouse, table: str, keep: Mapping[str, str]) -> None:
    """Drops declared constraints that `keep` lacks, or has with another condition.

    Constraints that were not declared stay. A job calls this before it writes the table, so that
    an outdated constraint does not refuse the new rows.
    """
    for name, condition in _declared(read_properties(lake, table)).items():
        if keep.get(name) != condition:
            quoted = quote_identifier(name)
            lake.spark.sql(f"ALTER TABLE {lake.name(table)} DROP CONSTRAINT IF EXISTS {quoted}")


def add_constraints(lake: Lakehouse, table: str, declared: Mapping[str, str]) -> list[str]:
    """Adds the declared constraints that the table lacks, and returns their names.

    Each new constraint reads the table once. Raises TableError for constraints that rows break.
    """
    present = read_properties(lake, table)
    known = {key.lower() for key in present if key.startswith(_CONSTRAINT)}
    new = [n for n in declared if f"{_CONSTRAINT}{check_name(n, parts=1).lower()}" not in known]
    broken = [name for name in new if not _add(lake, table, name, declared[name])]
    held = {name: condition for name, condition in declared.items() if name not in broken}
    if held or _DECLARED in present:
        set_properties(lake, table, {_DECLARED: json.dumps(held)})
    if broken:
        listed = ", ".join(f"{name} ({declared[name]})" for name in broken)
        raise TableError(
            f"{table} has rows that break {listed}: the constraint was not added. Fix the rows or "
            "the declaration, and run the job again."
        )
    return new


def undeclared_constraints(properties: Mapping[str, str], declared: Mapping[str, str]) -> list[str]:
    """Returns the constraints in `properties` that the product did not add from `declared`."""
    held = _declared(properties)
    ours = {name.lower() for name, text in declared.items() if held.get(name) == text}
    names = [key.removeprefix(_CONSTRAINT) for key in properties if key.startswith(_CONSTRAINT)]
    return [name for name in names if name.lower() not in ours]


def _declared(properties: Mapping[str, str]) -> dict[str, str]:
    declared: dict[str, str] = json.loads(properties.get(_DECLARED, "{}"))
    return declared


def _add(lake: Lakehouse, table: str, name: str, condition: str) -> bool:
    """Adds a constraint. Returns False if a row breaks it."""
    try:
        lake.spark.sql(
            f"ALTER TABLE {lake.name(table)} ADD CONSTRAINT {quote_identifier(name)}"
            f" CHECK ({condition})"
        )
    except (PySparkException, Py4JError) as error:
        if "CHECK_CONSTRAINT_VIOLATION" not in str(error):
            raise
        return False
    return True
