"""The bronze tables of lake files, with their quarantine and the log of files."""

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.schema import FILE_COLUMNS, LAKE_COLUMNS
from matchlake.ingest.tables import allowed_values, declared_columns
from matchlake.schemas import TableSpec


def lake_table(source: LakeSource) -> TableSpec:
    """The declared columns, one row per key."""
    columns = tuple(
        column._replace(nullable=column.name not in source.keys)
        for column in declared_columns(source.columns)
    )
    return TableSpec(
        source.table,
        source.comment,
        (*columns, *source.rule_set.table_columns),
        keys=source.keys,
        checks=tuple(allowed_values(source.columns)),
        user_columns=source.persons,
        written_by="load_lake",
    )


def lake_quarantine(name: str) -> TableSpec:
    """The rows that were rejected at the last load of their file; a corrupt file is one row."""
    comment = "Rows of lake files that the last load of their file rejected, with the error."
    return TableSpec(name, comment, LAKE_COLUMNS, user_columns=(), written_by="load_lake")


def lake_files(name: str) -> TableSpec:
    """The log of lake files: one row per source and file, with status and counts."""
    comment = "Every lake file that was found, with its status and its counts of rows."
    return TableSpec(
        name,
        comment,
        FILE_COLUMNS,
        keys=("source", "file"),
        user_columns=(),
        written_by="load_lake",
    )
