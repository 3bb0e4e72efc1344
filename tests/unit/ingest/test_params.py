"""What a declaration of a stream or a source may say; and the broker's address."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.streams import COLUMNS, stream_entry

from matchlake.config import load_config
from matchlake.errors import ConfigError, ParameterError
from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.files.params import LakeParams, LakeSource
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.runner import IngestParams, chosen_streams
from matchlake.ingest.tables import stream_table, stream_views
from matchlake.io.brokers import broker_address
from matchlake.io.params import KafkaParams


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (
            {"type": "string", "min": 1},
            r"min and max are allowed for int, bigint, double, decimal\(p,s\), not for string",
        ),
        (
            {"type": "int", "min": 0.5},
            "min and max of int must be integers from -2147483647 to 2147483647",
        ),
        ({"type": "bigint", "max": 1e30}, "min and max of bigint must be integers"),
        ({"type": "double", "one_of": ["a"]}, "one_of is allowed for string, not for double"),
        ({"type": "date", "epoch": "s"}, "epoch is allowed for timestamp, not for date"),
        ({"type": "text"}, "type text is none of string, int"),
    ],
)
def test_settings_that_do_not_fit_the_type_of_a_column_are_rejected(
    declared: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        ColumnParams.model_validate(declared | {"comment": "c"})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"table": "no-schema"}, "is not a valid name"),
        ({"event_time": "rating"}, "event_time rating is not a declared timestamp column"),
        ({"columns": {"offset": COLUMNS["rating"]}}, "column offset is reserved for matchlake"),
        ({"columns": {}}, "at least 1 item"),
        ({"max_offsets_per_trigger": 0}, "greater than or equal to 1"),
    ],
)
def test_invalid_settings_of_a_stream_are_rejected(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        StreamParams.model_validate(stream_entry("t", "s", **changes))


def test_a_lake_key_is_a_required_column() -> None:
    entry = {"path": "*", "format": "csv", "table": "b.t", "comment": "c", "columns": COLUMNS}
    with pytest.raises(ValidationError, match="key user must be a declared"):
        LakeSource.model_validate(entry | {"keys": ["user"]})


def test_table_and_views_follow_the_declaration() -> None:
    stream = load_config("demo").streams["rating_events"]
    names = stream_table(stream).column_names
    assert names[:5] == ["_status", "user_id", "item_id", "rating", "event_time"]
    assert names[5:9] == ["topic", "partition", "offset", "kafka_timestamp"]
    assert names[9:12] == ["_error_code", "_error_message", "raw"]
    assert names[12:14] == ["value_bytes", "schema_version"]
    assert names[14:] == ["attempt", "checkpoint_id", "batch_id"]
    valid, quarantined = stream_views(stream)
    assert (valid.name, quarantined.name) == ("bronze.ratings", "bronze.ratings_quarantine")
    assert valid.needs == quarantined.needs == ("bronze.rating_events",)


def test_an_unknown_stream_names_those_declared() -> None:
    streams = load_config("demo").streams
    assert list(chosen_streams(streams, IngestParams())) == ["rating_events"]
    with pytest.raises(ConfigError, match=r"No stream clicks. Declared streams: rating_events"):
        chosen_streams(streams, IngestParams(streams=("clicks",)))


def test_a_trigger_is_available_now_or_an_interval() -> None:
    assert IngestParams(trigger="5 seconds").trigger == "5 seconds"
    with pytest.raises(ParameterError, match="available_now or an interval"):
        IngestParams(trigger="often")


def test_the_sandbox_s_broker_is_found_where_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No broker.*matchlake sandbox start"):
        broker_address(KafkaParams(), str(tmp_path))
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "state.json").write_text(json.dumps({"port": 20123}))
    assert broker_address(KafkaParams(), str(tmp_path)) == "127.0.0.1:20123"
    assert broker_address(KafkaParams(bootstrap_servers="k:1"), str(tmp_path)) == "k:1"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_options": {"sep": ";"}}, "Extra inputs"),
        ({"format_options": {"encoding": "windows-12520"}}, "is unknown: use a name such as"),
        ({"format_options": {"encoding": "utf-16"}}, "needs multiline"),
        ({"format_options": {"quote": "''"}}, "at most 1 character"),
        ({"partition_columns": ["day"]}, "day is not a declared column"),
        ({"partition_columns": ["k"]}, "at least one column must be in the rows"),
    ],
)
def test_files_that_cannot_be_read_so_are_refused(changes: dict[str, object], told: str) -> None:
    column = {"type": "string", "comment": "k"}
    entry = {"path": "a", "format": "csv", "table": "b.t", "comment": "c", "keys": ["k"]}
    entry |= {"columns": {"k": column}}
    assert LakeSource.model_validate(entry)
    with pytest.raises(ValidationError, match=told):
        LakeSource.model_validate(entry | changes)


def test_only_declared_sources_are_loaded_anew() -> None:
    with pytest.raises(ParameterError, match="reload: no source users; there is"):
        LakeParams(reload=("users",))
