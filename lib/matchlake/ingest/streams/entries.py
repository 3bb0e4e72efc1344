"""Rows of the batch log as plain data, made from commits, from counts, and from accepted losses."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pyspark.sql import Row

from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.commits import Commit
from matchlake.ingest.streams.reconciliation import BY, COUNTED, Batch

Key = tuple[Any, ...]
"""Checkpoint, batch and partition."""
Entry = dict[str, Any]
"""A row of the batch log, with `distinct`, `lowest` and `highest` as the table has them.

`whole`, if present, is true if the table has all rows that the batch wrote.
"""


class Counts(NamedTuple):
    """The number of offsets of a range, and of the rows and gaps that account for them."""

    offsets: int = 0
    valid: int = 0
    quarantined: int = 0
    erased: int = 0
    gaps: int = 0
    """Offsets without a row, with a recorded cause."""


def summed(counts: Iterable[Counts]) -> Counts:
    """The sum of each count."""
    return Counts(*(sum(each) for each in zip(Counts(), *counts, strict=True)))


def counts_of(entry: Entry) -> Counts:
    """The counts of one entry."""
    return Counts(
        entry["end_offset"] - entry["first_offset"],
        entry["valid"],
        entry["quarantined"],
        entry["erased"],
        sum(end - first for _, first, end in entry["gaps"]),
    )


def batch_of(commit: Commit) -> Batch:
    """Checkpoint and number of the batch of a commit."""
    return commit.metadata["checkpoint"], commit.metadata["batch"]


def planned_entry(commit: Commit, partition: int) -> Entry:
    """The entry of one partition of a batch, from its commit, without the counts."""
    first, end = commit.offsets[partition]
    return {
        **dict(zip(BY, (*batch_of(commit), partition), strict=True)),
        **_source_of(commit),
        "first_offset": first,
        "end_offset": end,
        "table_version": commit.version,
        "committed_at": commit.at,
        "seconds": max(0.0, commit.at.timestamp() - commit.metadata["began"]),
    }


def accepted_entry(commit: Commit, batch: int, partition: int, first: int, end: int) -> Entry:
    """A batch without rows: its whole range is a gap that `commit` accepts.

    It belongs to the checkpoint before that of the commit. It has no commit of its own, and so
    no `table_version` and no `committed_at`.
    """
    gap = [(str(Gap.ACCEPTED), first, end)] if first < end else []
    return {
        **dict(zip(BY, (commit.metadata["previous_checkpoint"], batch, partition), strict=True)),
        **_source_of(commit),
        "first_offset": first,
        "end_offset": end,
        "table_version": None,
        "committed_at": None,
        "seconds": None,
        "gaps": gap,
        **found_counts(None),
    }


def found_counts(row: Row | Mapping[str, Any] | None) -> Entry:
    """The counts of a batch's rows. Without a row, counts are 0 and bounds are null."""
    values = {} if row is None else row.asDict() if isinstance(row, Row) else row
    none = dict.fromkeys(("lowest", "highest", "first_event", "last_event"))
    return {name: values.get(name) if name in none else values.get(name) or 0 for name in COUNTED}


def _source_of(commit: Commit) -> Entry:
    return {
        "stream": commit.metadata["stream"],
        "topic": commit.metadata["topic"],
        "topic_id": commit.metadata.get("topic_id"),
    }
