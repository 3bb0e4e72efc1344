"""Registered versions without a model, and the steps of jobs that move aliases and write tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matchlake.io.delta import Lakehouse
from matchlake.io.model_versions import CHAMPION, AliasChange
from matchlake.lakehouse.registered_models import RECOMMENDER, RegisteredModel, registered_model
from matchlake.lakehouse.rollback import settled_history
from matchlake.runtime import Runtime
from matchlake.schemas import PREDICTED_RATINGS, RECOMMENDATIONS, TableSpec

Rows = list[tuple[Any, ...]]


def recommender_of(at: Runtime) -> RegisteredModel:
    """The recommender of a runtime."""
    return registered_model(at.config, at.tracker, RECOMMENDER)


def add_version(at: Runtime, folder: Path) -> str:
    """Registers a version whose only file is its MLmodel, below `folder`; returns its number."""
    import mlflow  # noqa: PLC0415 - takes seconds

    at.tracker.champion()  # connects
    client, name = mlflow.MlflowClient(), at.tracker.params.model
    if not at.tracker.versions():
        client.create_registered_model(name)
    place = folder / f"files{len(at.tracker.versions())}"
    place.mkdir(parents=True)
    (place / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    return str(client.create_model_version(name, str(place)).version)


def promote(at: Runtime, version: str) -> None:
    """Makes a version champion, as a training does."""
    history, now = settled_history(at.lakehouse, recommender_of(at)), at.tracker.champion()
    change = AliasChange(CHAMPION, version, now and now.version, "better")
    with history.recording("train")(change):
        at.tracker.move_alias(CHAMPION, version)


def recommended(version: str, users: Sequence[str], items: int = 2) -> Rows:
    """Rows of gold.recommendations."""
    return [
        (user, rank, f"i{rank}-{version}", 5.0 / rank, version, False)
        for user in users
        for rank in range(1, items + 1)
    ]


def predicted(version: str, users: Sequence[str]) -> Rows:
    """Rows of gold.predicted_ratings."""
    return [(user, "i1", 4.0, None, False, version) for user in users]


def write_tables(at: Runtime, version: str, users: Sequence[str], *, ratings: bool = False) -> None:
    """Writes the tables of a champion and notes their versions, as recommend does."""
    history = settled_history(at.lakehouse, recommender_of(at))
    tables = {RECOMMENDATIONS: recommended(version, users)}
    tables |= {PREDICTED_RATINGS: predicted(version, users)} if ratings else {}
    for spec, rows in tables.items():
        at.lakehouse.replace(at.lakehouse.frame(rows, spec), spec)
    history.note_tables(version, {spec.name: at.lakehouse.version(spec.name) for spec in tables})


def two_champions(at: Runtime, folder: Path, users: Sequence[str]) -> None:
    """Version 1 recommends; then version 2 is champion, recommends and predicts ratings."""
    for version, ratings in (("1", False), ("2", True)):
        assert add_version(at, folder) == version
        promote(at, version)
        write_tables(at, version, users, ratings=ratings)


def rows_of(lake: Lakehouse, spec: TableSpec) -> Rows:
    """The rows of a table, in order."""
    return sorted(tuple(row) for row in lake.read(spec.name).collect())
