"""The example of conf declares the columns that the events of the prediction log have."""

import json
import shutil
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.cli.exports import verify
from matchlake.config import load_config
from matchlake.errors import ConfigError, ModelError
from matchlake.serve.prediction_log import Answered, events_of
from matchlake.training.served_scores import EVENTS


def test_the_stream_has_the_columns_of_an_event(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    text = "extends: [data/prediction_events.yml]\nlakehouse: x\ncheckpoints: y\n"
    (tmp_path / "conf" / "local.yml").write_text(text)
    config = load_config("local", conf_dir=tmp_path / "conf")
    stream = config.streams["prediction_events"]
    outputs = {"item_id": [["a"]], "score": [[0.5]]}
    ((key, value),) = events_of(Answered("r", 0.5, "m", "1", {"k": [1]}, outputs, None, ["ann"]))
    event = json.loads(value)
    assert list(event) == list(stream.columns)
    assert (key, event["id"], event["score"], event["user_id"]) == (b"r-0", "r-0", 0.5, "ann")
    assert {n for n, v in event.items() if v is None} <= {
        name for name, column in stream.columns.items() if not column.required
    }
    assert (stream.table, stream.persons) == (EVENTS, ("user_id",))
    assert config.serving.log is not None
    assert config.serving.log.topic == stream.topic


def test_verify_needs_one_thing_to_verify() -> None:
    with pytest.raises(ModelError, match="Name either an export, or a time"):
        verify()
    with pytest.raises(ConfigError, match="--served yesterday: this is not a time"):
        verify(served="yesterday")
