"""The limits on one value of a stream. Imports no Spark."""

from pydantic import Field

from matchlake.params import Params


class Limits(Params):
    """The limits on one value; a value above one of them is quarantined and not decoded."""

    max_value_bytes: int | None = Field(10_000_000, ge=1)
    """The largest size of a value, in bytes; null: no limit."""
    max_depth: int = Field(100, ge=1, le=200)
    """The maximum depth of nested records, arrays and maps in an Avro value."""
    max_items: int = Field(1_000_000, ge=1)
    """The largest number of fields and items in an Avro or Protobuf value, nested ones included."""
