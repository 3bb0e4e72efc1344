"""The columns that every stream's bronze table has, beside those that are declared."""

from matchlake.ingest.reasons import Reason
from matchlake.schemas import Column

GOOD = "good"
QUARANTINED = "quarantined"
ERASED = "erased"

STATUS = Column(
    "status",
    "STRING",
    f"`{GOOD}`, `{QUARANTINED}`, or `{ERASED}`: only its position is left",
    nullable=False,
)
_REASONS = ", ".join(Reason)
POSITION = (
    Column("topic", "STRING", "Kafka topic of the record", nullable=False),
    Column("partition", "INT", "Kafka partition of the record", nullable=False),
    Column("offset", "BIGINT", "Kafka offset of the record in its partition", nullable=False),
    Column("kafka_timestamp", "TIMESTAMP", "When Kafka took the record, UTC"),
)
REFUSAL = (
    Column("reason", "STRING", f"Why it is quarantined: {_REASONS}; null when good"),
    Column("detail", "STRING", "What exactly is wrong, for people; null when good"),
)
RESCUED = Column("rescued", "STRING", "Fields of the record that are not declared, as JSON")
"""The column of streams that keep what they do not declare."""
RAW = Column(
    "raw",
    "STRUCT<key: BINARY, value: BINARY, headers: ARRAY<STRUCT<key: STRING, value: BINARY>>>",
    "The message as it came: key, value and headers; null when good",
)
BATCH = (
    Column("value_bytes", "INT", "Length of the message's value as it came; null without one"),
    Column(
        "schema_version", "INT", "Version of its columns in conf, or its schema's id in a registry"
    ),
    Column("attempt", "INT", "How often it has been read: 1, and 1 more with each replay"),
    Column(
        "checkpoint_id",
        "BIGINT",
        "Checkpoint of the query that read it: the first 15 hex digits of the query's id",
    ),
    Column("batch_id", "BIGINT", "Number of its micro-batch in that checkpoint"),
)
LAKE_COLUMNS = (
    Column("source", "STRING", "Name of the source in conf", nullable=False),
    Column("file", "STRING", "File that holds the row", nullable=False),
    Column("row_text", "STRING", "The row as text"),
    *REFUSAL,
    Column("loaded_at", "TIMESTAMP", "When the file was loaded, UTC", nullable=False),
)
"""The columns of the table of refused lake rows."""
FILE_COLUMNS = (
    Column("source", "STRING", "Name of the source in conf", nullable=False),
    Column("file", "STRING", "The file, as `file` in the table of refused rows", nullable=False),
    Column("size", "BIGINT", "Its bytes when it was found", nullable=False),
    Column(
        "modified_at",
        "TIMESTAMP",
        "Its time when it was found, UTC; 1970: is empty",
        nullable=False,
    ),
    Column(
        "status",
        "STRING",
        "`found` or `changed`: not loaded yet; `loaded`, `empty`, or `corrupt`: refused whole",
        nullable=False,
    ),
    Column("rows", "BIGINT", "Rows it holds; 1 where it is corrupt; null: not loaded yet"),
    Column("good", "BIGINT", "Those that are good"),
    Column("quarantined", "BIGINT", "Those that were refused; 1 where it is corrupt"),
    Column("declared", "STRING", "Mark of the declaration and the table it was loaded by"),
    Column("loads", "INT", "How often it has been loaded"),
    Column("seconds", "DOUBLE", "How long the load took that had it, all its files together"),
    Column("loaded_at", "TIMESTAMP", "When it was loaded, UTC"),
)
"""The columns of the ledger of lake files."""
RECORD_COLUMNS = (STATUS, *POSITION, *REFUSAL, RAW, *BATCH)
"""The columns that every stream's table has, beside those declared."""
