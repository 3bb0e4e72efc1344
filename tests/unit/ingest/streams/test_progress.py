"""What a stream says of itself, and how the command line shows it."""

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from pyspark.sql.streaming.listener import QueryProgressEvent, StreamingQueryProgress
from rich.console import Console

from matchlake.cli.streams import progress_table
from matchlake.ingest.streams.progress import ProgressListener, progress_of, read_progress
from matchlake.runtime import Flag

EVENT = {
    "id": "0c5f2a0e-3c53-4c5e-9f4e-111111111111",
    "runId": "0c5f2a0e-3c53-4c5e-9f4e-222222222222",
    "name": "ratings",
    "timestamp": "2026-05-01T10:00:00.000Z",
    "batchId": 7,
    "batchDuration": 1500,
    "durationMs": {"triggerExecution": 1500},
    "eventTime": {},
    "stateOperators": [],
    "sources": [
        {
            "description": "KafkaV2",
            "startOffset": json.dumps({"events": {"0": 5}}),
            "endOffset": json.dumps({"events": {"0": 10, "1": 4}}),
            "latestOffset": json.dumps({"events": {"0": 110, "1": 4}}),
            "numInputRows": 50,
            "inputRowsPerSecond": 10.0,
            "processedRowsPerSecond": 40.0,
            "metrics": {},
        }
    ],
    "sink": {"description": "ForeachBatch", "numOutputRows": -1, "metrics": {}},
    "numInputRows": 50,
    "inputRowsPerSecond": 10.0,
    "processedRowsPerSecond": 40.0,
    "observedMetrics": {},
}


def test_a_batch_is_logged_stored_and_shown(tmp_path: Path) -> None:
    event = StreamingQueryProgress.fromJson(EVENT)
    progress = progress_of(event)
    assert progress.stream == "ratings"
    assert (progress.batch, progress.records, progress.batch_seconds) == (7, 50, 1.5)
    assert (progress.lag_records, progress.lag_seconds) == (100, 2.5)

    listener = ProgressListener(str(tmp_path))
    listener.onQueryProgress(QueryProgressEvent(event))
    assert read_progress(str(tmp_path)) == [progress]
    (tmp_path / "progress" / "torn.json").write_text("{")
    console = Console(width=120, record=True, file=StringIO())
    now = datetime(2026, 5, 1, 10, 0, 9, tzinfo=UTC)
    console.print(progress_table(read_progress(str(tmp_path)), now))
    shown = console.export_text()
    assert [word for word in shown.splitlines()[3].split() if word.strip("│┃")] == [
        "ratings",
        "running",
        "7",
        "50",
        "40",
        "1.5",
        "100",
        "2.5",
        "9",
    ]
    console.print(progress_table([], now))
    assert "No stream has run yet" in console.export_text()


def test_a_flag_stands_for_a_key_of_conf() -> None:
    assert Flag("--accept-data-loss", "ingest.accept_data_loss", "STREAM", "").setting(
        ["a", "b"]
    ) == ('ingest.accept_data_loss=["a", "b"]')
    rewind = Flag("--rewind-to", "ingest.rewind_to", "STREAM=BATCH", "")
    assert rewind.setting(["a=3", "b=0"]) == "ingest.rewind_to={a: 3, b: 0}"
