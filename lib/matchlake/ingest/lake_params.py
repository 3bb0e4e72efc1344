"""What a user declares of the files in the lake."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.ingest.columns import LAKE_COLUMNS
from matchlake.ingest.params import Columns, checked_name
from matchlake.params import Params


class LakeSource(Params):
    """Files of one kind, and the bronze table that holds their last row of each key."""

    path: str
    """Where the files are below `lake.folder`; `*` stands for any part of a name."""
    format: Literal["csv", "json", "parquet"]
    """csv: with a header; json: one object a line, blank lines are no rows."""
    table: str
    """The bronze table."""
    comment: str
    """What the rows are; stands in the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The columns that tell rows apart; of rows that agree in them the last one counts."""
    columns: Columns = Field(min_length=1)
    """The declared columns, in their order; a CSV header must have just these."""
    required: bool = False
    """Whether the job fails when there is no file; else it warns."""
    separator: str = ","
    """What stands between the fields of a CSV row."""

    @field_validator("table")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for name, column in self.columns.items():
            checked_name(name, 1)
            if name in {own.name for own in LAKE_COLUMNS}:
                raise ValueError(f"column {name} is matchlake's own here: choose another name")
            if self.format == "csv" and column.type == "array<string>":
                raise ValueError(f"column {name}: a CSV file has no arrays")
        for key in self.keys:
            if key not in self.columns or not self.columns[key].required:
                raise ValueError(f"key {key} has to be a declared column, and required")
        return self


class LakeParams(Params):
    """The files that `load_lake` reads, and where their bad rows go."""

    folder: str | None = None
    """The folder of the files; null: `lake` below `lakehouse`."""
    quarantine: str = "bronze.lake_quarantine"
    """The table of rows that were refused."""
    sources: dict[str, LakeSource] = Field(default_factory=dict)
    """The declared files by name."""

    @field_validator("quarantine")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)
