"""Which registered versions of the models of conf hold a user."""

from collections.abc import Collection

from matchlake.config import JobConfig
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.lakehouse.erasure import USER_COLUMNS
from matchlake.lakehouse.file_search import SHORTEST
from matchlake.lakehouse.registered_models import RECOMMENDER, registered_models
from matchlake.lakehouse.table_registry import declared_tables
from matchlake.model_store.known_users import scoring_versions_with, versions_with


def user_columns(config: JobConfig) -> set[str]:
    """The names of all columns that conf declares to hold ids of users."""
    declared = declared_tables(config).values()
    return {*USER_COLUMNS, *(name for spec in declared for name in spec.user_columns or ())}


def versions_with_user(config: JobConfig, tracker: Tracker, user: str) -> list[ModelVersion]:
    """The versions of the recommender and of the models of conf that hold the user.

    A model of conf holds it as a category of a feature, or as a value of a held-out row. An id with
    fewer than SHORTEST characters counts only in columns that hold ids of users. Versions that
    cannot be read are included.
    """
    found = versions_with(tracker, user)
    columns: Collection[str] | None = user_columns(config) if len(user) < SHORTEST else None
    for name, model in registered_models(config, tracker).items():
        if name != RECOMMENDER:
            found += scoring_versions_with(model.tracker, user, columns)
    return found


def held_out_remarks(config: JobConfig, tracker: Tracker) -> list[str]:
    """What a search by an id cannot find in versions of models of conf: rows without ids."""
    named = []
    for name, model in registered_models(config, tracker).items():
        versions = [] if name == RECOMMENDER else model.tracker.versions()
        if versions:
            named.append(f"{name} {', '.join(each.version for each in versions)}")
    if not named:
        return []
    text = (
        "Rows that verify exports have no ids, so a search cannot find a user's. These versions "
        f"have up to 200 of them each: {'; '.join(named)}. Train again, and delete old versions."
    )
    return [text]
