"""What a user declares of the files in the lake."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.ingest.params import Columns, checked_name
from matchlake.ingest.schema import LAKE_COLUMNS
from matchlake.params import Params

Encoding = Literal["utf-8", "iso-8859-1", "us-ascii", "utf-16", "utf-16be", "utf-16le", "utf-32"]
_WIDE = ("utf-16", "utf-16be", "utf-16le", "utf-32")


class LakeReading(Params):
    """How CSV files are written; other keys than these are refused."""

    separator: str = Field(",", min_length=1)
    """What stands between the fields of a row."""
    quote: str = Field('"', min_length=1, max_length=1)
    """What stands around a field that holds a separator."""
    escape: str = Field('"', min_length=1, max_length=1)
    """What stands before a quote that is part of a field."""
    header: bool = True
    """Whether the first row names the columns; else they are the declared ones in their order."""
    encoding: Encoding = "utf-8"
    """How letters are written; those of two and four bytes need `multiline`."""
    null_value: str = ""
    """The text that stands for null, beside an empty field."""
    multiline: bool = False
    """Whether quoted fields may hold line ends; a file is then read by one task."""

    @model_validator(mode="after")
    def _can_be_split(self) -> Self:
        if self.encoding in _WIDE and not self.multiline:
            raise ValueError(f"encoding {self.encoding} needs multiline: true")
        return self


class LakeSource(Params):
    """Files of one kind, and the bronze table that holds their last row of each key."""

    path: str
    """Where the files are below `lake.folder`; `*` stands for any part of a name."""
    format: Literal["csv", "json", "parquet"]
    """csv; json: one object a line, blank lines are no rows. Files named .gz are unpacked."""
    table: str
    """The bronze table."""
    comment: str
    """What the rows are; stands in the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The columns that tell rows apart; of rows that agree in them the last loaded counts, and
    of those loaded together the last by file name and place."""
    columns: Columns = Field(min_length=1)
    """The declared columns, in their order; a CSV header must have just these."""
    folders: tuple[str, ...] = ()
    """The columns that are read from folders named `column=value`, and from no row."""
    required: bool = False
    """Whether the job fails when there is no file; else it warns."""
    reading: LakeReading = LakeReading()
    """csv: how it is written."""

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
        self._check_folders()
        return self

    def _check_folders(self) -> None:
        for name in self.folders:
            if name not in self.columns:
                raise ValueError(f"folders: {name} is no declared column")
        if not self.in_rows:
            raise ValueError("folders: some column has to be read from the rows")

    @property
    def in_rows(self) -> Columns:
        """The columns that rows hold: all but those of `folders`."""
        return {name: each for name, each in self.columns.items() if name not in self.folders}


class LakeParams(Params):
    """The files that `load_lake` reads, and where their bad rows go."""

    folder: str | None = None
    """The folder of the files; null: `lake` below `lakehouse`."""
    quarantine: str = "bronze.lake_quarantine"
    """The table of rows and files that were refused."""
    ledger: str = "bronze.lake_files"
    """The table of every file that was found, and what became of its rows."""
    finder: Literal["spark", "cloud_files"] = "spark"
    """What tells of new files: Spark's file stream, or Databricks' Auto Loader."""
    reload: tuple[str, ...] = ()
    """Sources of which every file is loaded anew."""
    sources: dict[str, LakeSource] = Field(default_factory=dict)
    """The declared files by name."""

    @field_validator("quarantine", "ledger")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="after")
    def _reloads_what_there_is(self) -> Self:
        for name in self.reload:
            if name not in self.sources:
                raise ValueError(f"reload: no source {name}; there is {', '.join(self.sources)}")
        return self
