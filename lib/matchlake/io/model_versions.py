"""Registered versions of a model, and their aliases."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matchlake.errors import ModelError
from matchlake.io.mlflow_errors import is_gone

CHAMPION = "champion"
"""Alias of the version in use."""

CHALLENGER = "challenger"
"""Alias of the newest version that did not become champion."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of the model."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """The version's address in MLflow."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Decision:
    """The alias of a new version, and why."""

    alias: str
    reason: str
    champion: str | None = None
    """The version that was champion at the time of the decision; None: there was none."""


class Descriptions(NamedTuple):
    """Descriptions of a registered model and of one version, in Markdown."""

    model: str
    version: str


@dataclass(frozen=True)
class AliasChange:
    """An alias that is about to move to another version."""

    alias: str
    version: str | None
    """The version that the alias will name; None: the alias is removed."""
    before: str | None
    """The version that the alias names now; None: none."""
    reason: str
    run_id: str | None = None
    """The run of the version."""


def number_of(version: ModelVersion | None) -> str | None:
    """The number of a version; None for none."""
    return None if version is None else version.version


Recorder = Callable[[AliasChange], AbstractContextManager[None]]
"""A context in which an alias moves: it records the change before, and its outcome after."""


def unrecorded(_: AliasChange) -> AbstractContextManager[None]:
    """A `Recorder` that records nothing."""
    return nullcontext()


def version_with_alias(client: Any, model: str, alias: str) -> ModelVersion | None:
    """The version with the alias, by MLflow's client; None without one."""
    try:
        return version_of(client.get_model_version_by_alias(model, alias))
    except Exception as error:
        # Stores use different error codes for a missing model and a missing alias.
        if is_gone(error) or f"alias {alias} not found" in str(error):
            return None
        raise


def version_of(found: Any) -> ModelVersion:
    """MLflow's answer as a `ModelVersion`. Raises ModelError for another answer."""
    if not found.version:
        raise ModelError(
            "MLflow's answer is not a model version. Check that tracking.uri and "
            "tracking.registry in conf are addresses of MLflow servers."
        )
    aliases = tuple(found.aliases or ())
    return ModelVersion(found.name, str(found.version), found.run_id, dict(found.tags), aliases)
