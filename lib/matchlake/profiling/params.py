"""The parameters of column profiles; without Spark."""

from pydantic import Field

from matchlake.params import Params, Settable
from matchlake.schemas import TableName


class ProfileParams(Params):
    """The profiled tables, and the size of each profile."""

    tables: tuple[TableName, ...] = ()
    """The tables that `profile_tables` profiles."""
    bins: Settable[int] = Field(20, ge=1, le=1000)
    """The maximum number of bins per histogram, about; their width is a power of two."""
    top: Settable[int] = Field(20, ge=1, le=1000)
    """The number of categories with a row of their own, the most frequent; the rest is one row."""
