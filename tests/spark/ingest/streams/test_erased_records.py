"""Records of erased users: no part of them is written, valid or not."""

from dataclasses import replace
from pathlib import Path

from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, messages
from tests.support.lakes import forget_tables
from tests.support.streams import valid_value

from matchlake.ingest.streams.erased_records import erased_records
from matchlake.ingest.streams.messages import parse_messages
from matchlake.io.salt import Salt
from matchlake.lakehouse.user_erasure import remember_user

SALT = Salt(b"a long random value")
VALUES = [
    valid_value(0, user_id="gone"),
    valid_value(1, user_id="gone", rating=99),
    valid_value(2, user_id="gone")[:-1],
    valid_value(3, user_id="here", rating=99),
    valid_value(4, user_id="here"),
    b"gone",
]


def test_a_record_of_an_erased_user_is_emptied_also_if_it_is_not_valid(
    spark: SparkSession, tmp_path: Path
) -> None:
    forget_tables(spark)
    at = ingest_in(spark, tmp_path, "emptied")
    lakehouse = replace(at.lakehouse, salt=lambda: SALT)
    remember_user(lakehouse, SALT, "gone")
    emptied = erased_records(at.stream, lakehouse).emptied
    found = messages(at, list(enumerate(VALUES)))
    rows = parse_messages(found, at.stream, batch=(1, 1), emptied=emptied).orderBy("offset")
    erased = ("erased", None, None)
    shown = rows.selectExpr("_status", "_error_code", "CAST(raw.value AS STRING)").collect()
    assert list(map(tuple, shown)) == [
        erased,
        erased,
        erased,
        ("quarantined", "out_of_range", VALUES[3].decode()),
        ("valid", None, None),
        ("quarantined", "malformed_json", "gone"),
    ]
    forget_tables(spark)
