"""A model, a stream and events for the tests of `score_events`, without a fit."""

import json
from typing import Any

from tests.support.fitted_features import fitted_number, model_of

from matchlake.features.scalers import Number
from matchlake.formulas.heads import LinearHead
from matchlake.ingest.params import StreamParams
from matchlake.model_store.scoring_model import ScoringModel

COLUMNS: dict[str, Any] = {
    "user_id": {"type": "string", "comment": "user"},
    "x": {"type": "double", "required": False, "max": 1000, "comment": "number"},
    "city": {"type": "string", "required": False, "one_of": ["Rome", "Oslo"], "comment": "city"},
    "value": {"type": "string", "required": False, "comment": "a name that Kafka has, too"},
    "at": {
        "type": "timestamp",
        "epoch": "ms",
        "path": "meta.at",
        "required": False,
        "comment": "t",
    },
}


def event_stream(topic: str = "events", **changes: Any) -> StreamParams:
    """The declared stream of the events."""
    return StreamParams.model_validate(
        {
            "topic": topic,
            "table": "bronze.events",
            "valid_view": "bronze.events_valid",
            "quarantine_view": "bronze.events_quarantine",
            "comment": "Events.",
            "columns": COLUMNS,
            **changes,
        }
    )


def pair_stream(topic: str = "events") -> StreamParams:
    """A stream of pairs of a user and an item."""
    item = {"type": "string", "required": False, "comment": "item"}
    return event_stream(topic, columns={"user_id": COLUMNS["user_id"], "item_id": item})


def event_model(handle_null: str = "error") -> ScoringModel:
    """`3 x + 1`, which refuses a null x unless `handle_null` says otherwise."""
    features = model_of(fitted_number(Number(handle_null=handle_null)))
    features = features.model_copy(update={"keys": ("user_id",)})
    head = LinearHead(columns=("f",), weights=((3.0,),), intercepts=(1.0,))
    return ScoringModel(name="m", task="regression", features=features, head=head)


def event(number: int, **changes: Any) -> bytes:
    """The value of an event; its score is `3 number / 10 + 1`."""
    fields = {"user_id": f"u{number}", "x": number / 10, "city": "Rome", "meta": {"at": 1}}
    return json.dumps(fields | changes).encode()


SCORES: dict[str, Any] = {
    "source_topic": {"type": "string", "comment": "topic of the event"},
    "source_partition": {"type": "int", "comment": "partition of the event"},
    "source_offset": {"type": "bigint", "comment": "offset of the event"},
    "model_version": {"type": "string", "comment": "version"},
    "prediction": {"type": "double", "required": False, "comment": "score"},
    "refusal": {"type": "string", "required": False, "comment": "why there is no score"},
}
"""The columns of the stream of scores."""


def scored_conf(broker: str, name: str, **scoring: Any) -> dict[str, Any]:
    """Conf of a stream of events, of its scores, and of the silver table of the scores."""
    scores = event_stream(f"{name}.scores", columns=SCORES, user_columns=[])
    tables = {"table": f"{name}.scores", "valid_view": f"{name}.v", "quarantine_view": f"{name}.q"}
    model = {
        "rows": "silver.a", "label": "y", "task": "regression", "keys": ["user_id"],
        "features": {"f": {"kind": "number", "column": "x"}}, "table": "gold.a", "comment": "A.",
        "trainer": {"kind": "sklearn", "estimator": "Ridge"},
    }  # fmt: skip
    return {
        "kafka": {"bootstrap_servers": broker},
        "models": {"m": model},
        "streams": {
            "events": event_stream(name).model_dump(),
            "scores": {**scores.model_dump(), **tables},
        },
        "ingest": {"batch_log": f"{name}.batches", "streams": ["scores"]},
        "silver": {
            "tables": {
                "scores": {
                    "stream": "scores",
                    "table": f"{name}.scores_once",
                    "comment": "Each event once.",
                    "keys": ["source_topic", "source_partition", "source_offset"],
                }
            }
        },
        "score_events": {
            "streams": {
                name: {
                    "stream": "events",
                    "model": "m",
                    "topic": f"{name}.scores",
                    "starting_offsets": "earliest",
                    **scoring,
                }
            },
            "batch": "5 seconds",
            "check_seconds": 0.5,
        },
    }
