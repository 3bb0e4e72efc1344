"""What a Delta table says of itself beside its columns: properties and constraints."""

from collections.abc import Mapping

from matchlake.io.delta import Lakehouse
from matchlake.schemas import check_name, quote_identifier, quote_text

_CONSTRAINT = "delta.constraints."


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
    """Drops every constraint that is not in `keep` as it is there, by name and condition."""
    for name, condition in _constraints(lake, table).items():
        if keep.get(name) != condition:
            quoted = quote_identifier(name)
            lake.spark.sql(f"ALTER TABLE {lake.name(table)} DROP CONSTRAINT IF EXISTS {quoted}")


def add_constraints(lake: Lakehouse, table: str, wanted: Mapping[str, str]) -> None:
    """Adds the constraints that the table lacks; each reads the table once, to check its rows."""
    there = _constraints(lake, table)
    for name, condition in wanted.items():
        if check_name(name, parts=1) not in there:
            lake.spark.sql(
                f"ALTER TABLE {lake.name(table)} ADD CONSTRAINT {quote_identifier(name)}"
                f" CHECK ({condition})"
            )


def _constraints(lake: Lakehouse, table: str) -> dict[str, str]:
    properties = read_properties(lake, table)
    return {
        key.removeprefix(_CONSTRAINT): value
        for key, value in properties.items()
        if key.startswith(_CONSTRAINT)
    }
