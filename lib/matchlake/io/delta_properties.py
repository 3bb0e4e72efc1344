"""What a Delta table says of itself beside its columns: properties and constraints."""

import json
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.schemas import check_name, quote_identifier, quote_text

_CONSTRAINT = "delta.constraints."
"""Begins the property of a constraint; Delta puts the constraint's name behind in lower case."""
_DECLARED = "matchlake.checks"
"""The property with the declared constraints as JSON: Delta itself spaces their SQL anew."""


def read_properties(lake: Lakehouse, table: str) -> dict[str, str]:
    """All properties of the table; its constraints are among them as `delta.constraints.NAME`."""
    rows = lake.spark.sql(f"SHOW TBLPROPERTIES {lake.name(table)}").collect()
    return {row["key"]: row["value"] for row in rows}


def set_properties(lake: Lakehouse, table: str, wanted: Mapping[str, str]) -> None:
    """Gives the table these properties, in one commit; none where it has them already."""
    there = read_properties(lake, table)
    if any(there.get(key) != value for key, value in wanted.items()):
        pairs = ", ".join(f"{quote_text(k)} = {quote_text(v)}" for k, v in wanted.items())
        lake.spark.sql(f"ALTER TABLE {lake.name(table)} SET TBLPROPERTIES ({pairs})")


def drop_constraints(lake: Lakehouse, table: str, keep: Mapping[str, str]) -> None:
    """Drops what was declared once and is no longer, or not like in `keep`; others' stay.

    A job calls it before it writes the table: a range that was widened must not refuse its rows.
    """
    for name, condition in _declared(read_properties(lake, table)).items():
        if keep.get(name) != condition:
            quoted = quote_identifier(name)
            lake.spark.sql(f"ALTER TABLE {lake.name(table)} DROP CONSTRAINT IF EXISTS {quoted}")


def add_constraints(lake: Lakehouse, table: str, wanted: Mapping[str, str]) -> list[str]:
    """Adds the constraints that the table lacks, and returns their names.

    Each reads the table once, to check its rows; raises TableError for those that rows break.
    """
    there = read_properties(lake, table)
    known = {key.lower() for key in there if key.startswith(_CONSTRAINT)}
    new = [n for n in wanted if f"{_CONSTRAINT}{check_name(n, parts=1).lower()}" not in known]
    broken = [name for name in new if not _add(lake, table, name, wanted[name])]
    held = {name: condition for name, condition in wanted.items() if name not in broken}
    if held or _DECLARED in there:
        set_properties(lake, table, {_DECLARED: json.dumps(held)})
    if broken:
        told = ", ".join(f"{name} ({wanted[name]})" for name in broken)
        raise TableError(
            f"{table} has rows that break {told}: the constraint was not added. Mend the rows or "
            "the declaration, and run the job again."
        )
    return new


def _declared(properties: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(properties.get(_DECLARED, "{}"))
    return found


def _add(lake: Lakehouse, table: str, name: str, condition: str) -> bool:
    """Adds a constraint, unless a row breaks it: False."""
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
