"""The columns of bronze tables that matchlake adds to the declared ones. Imports no Spark."""

from matchlake.ingest.rejections import ErrorCode
from matchlake.schemas import Column

VALID = "valid"
QUARANTINED = "quarantined"
ERASED = "erased"

STATUS = Column(
    "_status",
    "STRING",
    f"`{VALID}`, `{QUARANTINED}`, or `{ERASED}`: only the position is left",
    nullable=False,
)
UPSERT, DELETE = "upsert", "delete"
OPERATION = Column(
    "_operation",
    "STRING",
    f"`{UPSERT}`, or `{DELETE}` of the row with this key; null if the record is not valid",
)
"""The column of streams with `change_data`."""
POSITION = (
    Column("topic", "STRING", "Kafka topic of the record", nullable=False),
    Column("partition", "INT", "Kafka partition of the record", nullable=False),
    Column("offset", "BIGINT", "Kafka offset of the record in its partition", nullable=False),
    Column(
        "kafka_timestamp",
        "TIMESTAMP",
        "Time of the record in Kafka, UTC: by the clock of the producer, or of the broker if the "
        "topic has LogAppendTime; null if no table can hold it",
    ),
)
ERROR_CODE = Column(
    "_error_code",
    "STRING",
    f"Error code of a quarantined record: {', '.join(ErrorCode)}; null otherwise",
)
ERROR_MESSAGE = Column(
    "_error_message", "STRING", "The exact error of a quarantined record; null otherwise"
)
ERROR_COLUMNS = (ERROR_CODE, ERROR_MESSAGE)
RESCUED = Column("_rescued_data", "STRING", "Undeclared fields of the record, as JSON")
"""The column of streams with `unknown_fields: rescue`."""
RAW = Column(
    "raw",
    "STRUCT<key: BINARY, value: BINARY, headers: ARRAY<STRUCT<key: STRING, value: BINARY>>>",
    "Key, value and headers of a quarantined record, as received; null otherwise",
)
BATCH = (
    Column("value_bytes", "INT", "Length of the value as received; null without one"),
    Column(
        "schema_version", "INT", "Version of the columns in conf, or id of the schema in a registry"
    ),
    Column("attempt", "INT", "Number of times that the record was parsed: 1, plus 1 per replay"),
    Column(
        "checkpoint_id",
        "BIGINT",
        "Checkpoint of the query that read it: the first 15 hex digits of the id of the query",
    ),
    Column("batch_id", "BIGINT", "Number of the micro-batch in that checkpoint"),
)
LAKE_COLUMNS = (
    Column("source", "STRING", "Name of the source in conf", nullable=False),
    Column("file", "STRING", "File that holds the row", nullable=False),
    Column("row_text", "STRING", "The row as text"),
    *ERROR_COLUMNS,
    Column("loaded_at", "TIMESTAMP", "When the file was loaded, UTC", nullable=False),
)
"""The columns of the table of quarantined lake rows."""
FILE_COLUMNS = (
    Column("source", "STRING", "Name of the source in conf", nullable=False),
    Column(
        "file", "STRING", "The file, as `file` in the table of quarantined rows", nullable=False
    ),
    Column("size", "BIGINT", "Size in bytes when it was found", nullable=False),
    Column(
        "modified_at",
        "TIMESTAMP",
        "Modification time when it was found, UTC; 1970: the file is empty",
        nullable=False,
    ),
    Column(
        "status",
        "STRING",
        "`found` or `changed`: not loaded yet; `loaded`; `empty`; rejected as a whole: `corrupt`, "
        "or `refused` for other columns than declared",
        nullable=False,
    ),
    Column("rows", "BIGINT", "Rows of the file; 1 if it is rejected; null if it is not loaded yet"),
    Column("valid", "BIGINT", "Valid rows"),
    Column("quarantined", "BIGINT", "Quarantined rows; 1 if the file is rejected as a whole"),
    Column(
        "rules",
        "ARRAY<STRUCT<rule: STRING, action: STRING, records: BIGINT>>",
        "Number of rows that break a rule, per rule and action",
    ),
    Column("declared", "STRING", "Hash of the declaration and of the table at the load"),
    Column("loads", "INT", "Number of loads"),
    Column("seconds", "DOUBLE", "Seconds of the load, all its files together"),
    Column("loaded_at", "TIMESTAMP", "When it was loaded, UTC"),
    Column("reason", "STRING", "Why the file is rejected or could not be read; null otherwise"),
)
"""The columns of the log of lake files."""
RECORD_COLUMNS = (STATUS, *POSITION, *ERROR_COLUMNS, RAW, *BATCH)
"""The columns of every stream table that are not declared."""
