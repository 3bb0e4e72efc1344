"""The columns that every stream's bronze table has, beside those that are declared."""

from matchlake.ingest.reasons import Reason
from matchlake.schemas import Column

GOOD = "good"
QUARANTINED = "quarantined"

STATUS = Column("status", "STRING", f"`{GOOD}` or `{QUARANTINED}`", nullable=False)
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
RAW = (
    Column("raw_key", "BINARY", "The message's key as it came; null when good"),
    Column("raw_value", "BINARY", "The message's value as it came; null when good"),
)
LAKE_COLUMNS = (
    Column("source", "STRING", "Name of the source in conf", nullable=False),
    Column("file", "STRING", "File that holds the row", nullable=False),
    Column("row_text", "STRING", "The row as text"),
    *REFUSAL,
    Column("loaded_at", "TIMESTAMP", "When the file was loaded, UTC", nullable=False),
)
"""The columns of the table of refused lake rows."""
RECORD_COLUMNS = (STATUS, *POSITION, *REFUSAL, *RAW)
"""The columns that every stream's table has, beside those declared."""
