"""The parameters of lake files. Imports no Spark."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.ingest.columns import Columns, checked_name
from matchlake.ingest.files.encodings import BYTES, as_bytes, codec_of, keeps_bytes
from matchlake.ingest.rules import Rules, RuleSet, types_of
from matchlake.ingest.schema import LAKE_COLUMNS
from matchlake.params import Params, Settable
from matchlake.schemas import user_columns_of

_WIDE = re.compile(r"utf-?(16|32).*")


class CsvFileOptions(Params):
    """The options of CSV files."""

    separator: str = Field(",", min_length=1)
    """The separator of fields."""
    quote: str = Field('"', min_length=1, max_length=1)
    """The character around a field that holds a separator."""
    escape: str = Field('"', min_length=1, max_length=1)
    """The character before a quote within a field."""
    header: bool = True
    """Whether the first row names the columns; else they are the declared ones in their order."""
    encoding: str = "utf-8"
    """The encoding by its Python or Java name, such as cp1252; utf-16 and utf-32 need
    `multiline`."""
    null_value: str = ""
    """The text for null, besides an empty field."""
    multiline: bool = False
    """Whether quoted fields may hold line breaks; one task then reads a whole file."""

    @model_validator(mode="after")
    def _validate_encoding(self) -> Self:
        if self._is_wide:
            if not self.multiline:
                raise ValueError(f"encoding {self.encoding} needs multiline: true")
            return self
        codec = codec_of(self.encoding)
        if codec is None:
            raise ValueError(
                f"encoding {self.encoding} is unknown: use a name such as utf-8, cp1252 or "
                "iso-8859-1"
            )
        special = self.separator + self.quote + self.escape
        if not keeps_bytes(codec, special):
            raise ValueError(
                f"encoding {self.encoding} uses the bytes of the separator, the quote, the escape "
                "or the line end as part of other characters: choose other characters for these, "
                "or convert the files to utf-8"
            )
        for name in ("separator", "quote", "escape", "null_value"):
            self._require_encodable(name, codec)
        return self

    def _require_encodable(self, name: str, codec: str) -> None:
        text = getattr(self, name)
        try:
            size = len(text.encode(codec))
        except UnicodeEncodeError:
            raise ValueError(f"{self.encoding} does not have the {name} {text!r}") from None
        if name in {"quote", "escape"} and size > 1:
            raise ValueError(f"the {name} {text!r} must have one byte in {self.encoding}")

    @property
    def _is_wide(self) -> bool:
        return _WIDE.fullmatch(self.encoding.lower()) is not None

    @property
    def codec(self) -> str | None:
        """Python's codec for the fields, which Spark reads as bytes; None if Spark decodes them."""
        return None if self._is_wide else codec_of(self.encoding)

    @property
    def read_as(self) -> str:
        """The encoding that Spark uses to read the files."""
        return BYTES if self.codec else self.encoding

    @property
    def row_options(self) -> dict[str, str]:
        """Spark's options for the text of a row."""
        dialect = {"sep": self.separator, "quote": self.quote, "escape": self.escape}
        return {name: self.as_read(text) for name, text in dialect.items()}

    def as_read(self, text: str) -> str:
        """The text as Spark reads it from a file."""
        return as_bytes(text, self.codec) if self.codec else text


class LakeSource(Params):
    """Files of one kind, and the bronze table with the last row per key of these files."""

    path: str
    """The path of the files below `lake.folder`. `*` matches any characters within a name."""
    format: Literal["csv", "json", "parquet"]
    """csv; json: one object per line, without blank lines; parquet. A .gz file is decompressed."""
    table: str
    """The bronze table."""
    comment: str
    """The comment of the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The key columns. Of rows with the same key, the last loaded row is kept. Of rows that are
    loaded together, this is the last by file name and position."""
    columns: Columns = Field(min_length=1)
    """The declared columns, in their order; a CSV header must have exactly these."""
    user_columns: tuple[str, ...] | None = None
    """The columns that hold the id of a person; `[]`: none; null: `user_id`, if it is declared."""
    partition_columns: tuple[str, ...] = ()
    """The columns that are not in the rows: folders named `column=value` give their values."""
    required: bool = False
    """Whether the job fails if there is no file; else it warns."""
    format_options: CsvFileOptions = CsvFileOptions()
    """The options of CSV."""
    rules: Rules = Field(default_factory=dict)
    """Conditions over the columns of a valid row, by name."""

    @field_validator("table")
    @classmethod
    def _validate_table_name(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="after")
    def _validate_columns(self) -> Self:
        for name, column in self.columns.items():
            checked_name(name, 1)
            if name.startswith("_") or name in {own.name for own in LAKE_COLUMNS}:
                raise ValueError(f"column {name} is reserved for matchlake: choose another name")
            if self.format == "csv" and column.type == "array<string>":
                raise ValueError(f"column {name}: a CSV file has no arrays")
        for key in self.keys:
            if key not in self.columns or not self.columns[key].required:
                raise ValueError(f"key {key} must be a declared and required column")
        user_columns_of(self.user_columns, self.columns)
        self.rule_set.validate()
        self._validate_partition_columns()
        return self

    def _validate_partition_columns(self) -> None:
        for name in self.partition_columns:
            if name not in self.columns:
                raise ValueError(f"partition_columns: {name} is not a declared column")
        if not self.in_rows:
            raise ValueError("partition_columns: at least one column must be in the rows")

    @property
    def csv(self) -> CsvFileOptions:
        """The options of CSV."""
        return self.format_options

    @property
    def persons(self) -> tuple[str, ...]:
        """The columns that hold the id of a person."""
        return user_columns_of(self.user_columns, self.columns)

    @property
    def rule_set(self) -> RuleSet:
        """The rules with the columns that they can read."""
        return RuleSet(self.rules, types_of(self.columns))

    @property
    def in_rows(self) -> Columns:
        """The columns that are in the rows: all but `partition_columns`."""
        return {
            name: each for name, each in self.columns.items() if name not in self.partition_columns
        }


class LakeParams(Params):
    """The files that `load_lake` reads, and the tables besides those of the sources."""

    folder: str | None = None
    """The folder of the files; null: `lake` below `lakehouse`."""
    quarantine: str = "bronze.lake_quarantine"
    """The table of quarantined rows and corrupt files."""
    file_log: str = "bronze.lake_files"
    """The table of all files that were found, with their status and counts of rows."""
    file_discovery: Literal["directory_listing", "auto_loader"] = "directory_listing"
    """The way to find new files: Spark's file stream, or Auto Loader, on Databricks only."""
    max_line_bytes: int = Field(16_777_216, ge=1024, le=1_000_000_000)
    """The largest line of a text file, in bytes. A file with a longer line is corrupt."""
    max_unpacked_bytes: int | None = Field(100_000_000_000, ge=1)
    """The largest decompressed size of a compressed text file, in bytes; a larger file is corrupt.
    null: no limit."""
    reload: Settable[tuple[str, ...]] = ()
    """Sources whose files are all loaded again."""
    sources: dict[str, LakeSource] = Field(default_factory=dict)
    """The declared files by name."""

    @field_validator("quarantine", "file_log")
    @classmethod
    def _validate_table_name(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="after")
    def _validate_reload(self) -> Self:
        for name in self.reload:
            if name not in self.sources:
                raise ValueError(f"reload: no source {name}; there is {', '.join(self.sources)}")
        return self
