"""Exports to serve, written without the second process that verifies them, and a client."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
from tests.support.saved_models import factor_model
from tests.support.scoring_cases import as_columns, hostile_rows, random_model

from matchlake.model_store.exports import finish_export, verify_export, write_export
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.recommender_export import finish_recommender, write_recommender
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.model_store.spark import save_model
from matchlake.serve.app import application
from matchlake.serve.current import CurrentModel
from matchlake.serve.metrics import Metrics
from matchlake.serve.params import ServingParams
from matchlake.serve.state import State

ROWS = hostile_rows(200)
COLUMNS = as_columns(ROWS)


def scoring_model(seed: int = 0, kind: str = "linear", count: int | None = None) -> ScoringModel:
    """A generated model of so many features; null: a few."""
    return random_model(kind, COLUMNS, np.random.default_rng(seed), count)[0]


def export_scoring(path: Path, model: ScoringModel, version: str | None = None) -> Path:
    """The model's export as ONNX, or as a folder, at `path`."""
    rows = HeldOut.of(model.features, pd.DataFrame(COLUMNS))
    kind: Any = "onnx" if path.suffix == ".onnx" else "folder"
    partial = write_export(model, rows, kind, path, version)
    finish_export(partial, path, verify_export(partial)[1] if kind == "onnx" else 0.0)
    return path


def export_recommender(path: Path, version: str | None = None, **ids: Any) -> Path:
    """A small recommender's export as ONNX, or as a folder, at `path`."""
    folder = path.with_name(f"saved-{path.stem}")
    save_model(factor_model(**ids), folder)
    finish_recommender(write_recommender(folder, path, version), path, 0.0)
    return path


def state_of(path: Path, change: Callable[[State], None] | None = None, **params: Any) -> State:
    """The parts of a server of the export at `path`."""
    state = State(ServingParams(**params), CurrentModel(path), Metrics())
    if change is not None:
        change(state)
    return state


class Client:
    """A client of the application, without a socket; a failure of it is an answer of 500."""

    def __init__(self, state: State) -> None:
        transport = httpx.ASGITransport(application(state), raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def get(self, path: str, **more: Any) -> httpx.Response:
        """The answer to GET."""
        return self._runner.run(self._client.get(path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        """The answer to POST."""
        return self._runner.run(self._client.post(path, **more))


def json_rows(model: ScoringModel, rows: range) -> list[dict[str, Any]]:
    """Rows of COLUMNS as a client sends them, without those that a JSON number cannot hold."""
    held = HeldOut.of(model.features, pd.DataFrame(COLUMNS))
    names = list(held.columns)
    return [{name: held.columns[name][row] for name in names} for row in rows]
