"""Generated histories of records with skewed clocks, and what they leave, in plain Python."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from tests.support.streams import COLUMNS

from matchlake.ingest.tables import stream_table
from matchlake.runtime import Runtime

START = datetime(2024, 5, 1, tzinfo=UTC)
LATE_AFTER_HOURS = 3


class Record(NamedTuple):
    """One record of a topic, and the piece of the history in which it becomes valid."""

    key: str
    partition: int
    offset: int
    hours: int
    """Its kafka_timestamp, in hours after `START`."""
    rating: float
    piece: int
    replayed: bool = False
    """Whether it is in quarantine until its piece."""
    delete: bool = False
    """Whether it deletes the row of its key."""


def history(
    seed: int, keys: int, *, pieces: int, deletes: float = 0, partitions: int = 3
) -> list[Record]:
    """Records of many keys in a few partitions; half of the keys keep to one partition.

    The clocks are arbitrary. One record of ten is quarantined first, and valid some pieces later.
    A fraction `deletes` of the records delete a row.
    """
    draw = random.Random(seed)  # noqa: S311 - cases, no secrets
    order = [key for key in range(keys) for _ in range(draw.randint(1, 6))]
    draw.shuffle(order)
    offsets, found = [0] * partitions, []
    for index, key in enumerate(order):
        at = key % partitions if key % 2 else draw.randrange(partitions)
        read = index * pieces // len(order)
        piece = draw.randrange(read, pieces) if draw.random() < 0.1 else read
        hours, rating = draw.randint(0, 7), float(draw.randint(1, 5))
        replayed = piece > read
        delete = draw.random() < deletes
        found.append(Record(f"k{key}", at, offsets[at], hours, rating, piece, replayed, delete))
        offsets[at] += 1
    return found


def left(records: Iterable[Record]) -> dict[str, tuple[Any, ...]]:
    """Rating, partition, offset, several_partitions and late of the last record per key."""
    by_key: dict[str, list[Record]] = {}
    for each in records:
        by_key.setdefault(each.key, []).append(each)
    rows = {key: _of(those) for key, those in by_key.items()}
    return {key: row for key, row in rows.items() if row is not None}


def _of(records: list[Record]) -> tuple[Any, ...] | None:
    newest: dict[int, Record] = {}
    for each in sorted(records, key=lambda record: record.offset):
        newest[each.partition] = each
    last = max(newest.values(), key=lambda record: (record.hours, record.partition))
    if last.delete:
        return None
    late = all(each.hours > LATE_AFTER_HOURS for each in records if not each.delete)
    return last.rating, last.partition, last.offset, len(newest) > 1, late


def replay_pieces(at: Runtime, records: list[Record]) -> Iterator[list[Record]]:
    """Writes a history to bronze piece by piece; yields the valid records after each piece."""
    spec = stream_table(at.config.streams["events"])
    at.lakehouse.create(spec)
    table, pieces = at.lakehouse.name(spec.name), max(each.piece for each in records) + 1
    waiting = {each for each in records if each.replayed}
    for piece in range(pieces):
        now = [each for each in records if each.piece == piece and not each.replayed]
        held = waiting if not piece else set()
        _append(at, table, [(each, True) for each in now] + [(each, False) for each in held])
        due = [each for each in records if each.piece == piece and each.replayed]
        if due:
            where = " OR ".join(f"(partition = {r.partition} AND offset = {r.offset})" for r in due)
            at.spark.sql(f"UPDATE {table} SET _status = 'valid' WHERE {where}")
        yield [each for each in records if each.piece <= piece]


def bronze_rows(at: Runtime, records: Iterable[Record]) -> DataFrame:
    """Valid records as rows of the bronze table."""
    return _rows(at, [(each, True) for each in records])


def _append(at: Runtime, table: str, records: list[tuple[Record, bool]]) -> None:
    _rows(at, records).write.format("delta").mode("append").saveAsTable(table)


def _rows(at: Runtime, records: list[tuple[Record, bool]]) -> DataFrame:
    stream = at.config.streams["events"]
    rows = [
        (
            "valid" if is_valid else "quarantined",
            *("x", None if each.delete else "u", each.key),
            *((None, None) if each.delete else (each.rating, START)),
            *("t", each.partition, each.offset, START + timedelta(hours=each.hours)),
            *((("delete" if each.delete else "upsert"),) if stream.has_deletes else ()),
        )
        for each, is_valid in records
    ]
    assert list(COLUMNS) == ["user_id", "item_id", "rating", "event_time"]
    schema = (
        "_status STRING, _error_code STRING, user_id STRING, item_id STRING, rating DOUBLE,"
        " event_time TIMESTAMP, topic STRING, partition INT, offset BIGINT,"
        " kafka_timestamp TIMESTAMP"
    ) + (", _operation STRING" if stream.has_deletes else "")
    return at.spark.createDataFrame(rows, schema)


def found(at: Runtime, table: str) -> dict[str, tuple[Any, ...]]:
    """The rows of a silver table by item, as `left` gives them."""
    return rows_found(at.lakehouse.read(table))


def rows_found(rows: DataFrame) -> dict[str, tuple[Any, ...]]:
    """The rows of a silver table by item, as `left` gives them."""
    names = ("rating", "partition", "offset", "several_partitions", "late")
    return {row[0]: tuple(row)[1:] for row in rows.select("item_id", *names).collect()}
