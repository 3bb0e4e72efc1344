"""Checks every key and value of a bundle against the types of databricks-sdk.

The SDK's own `from_dict` drops unknown keys and accepts any scalar. So this module
reads the SDK's dataclasses. It reports unknown keys, wrong types, unknown enumeration values and
missing keys. Keys that only bundles have, such as permissions, are declared below.
"""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from databricks.sdk.service import (
    catalog,
    database,
    iam,
    jobs,
    ml,
    postgres,
    serving,
    sql,
    workspace,
)

from matchlake.dev.bundle.tree import Keyed, Path_, Problem, problem

_LONG = 8


class Slot(NamedTuple):
    """The type of one key."""

    type: Any
    required: bool = False


Shape = dict[str, Slot]
"""The keys of a mapping."""


@dataclass
class Permission:
    """A permission on a resource of the workspace."""

    level: iam.PermissionLevel
    group_name: str | None = None
    user_name: str | None = None
    service_principal_name: str | None = None


@dataclass
class ScopePermission:
    """A permission on a secret scope."""

    level: workspace.AclPermission
    group_name: str | None = None
    user_name: str | None = None
    service_principal_name: str | None = None


@dataclass
class Grant:
    """Privileges on an object of Unity Catalog."""

    principal: str
    privileges: list[catalog.Privilege]


@dataclass
class Lifecycle:
    """The lifecycle of a resource."""

    prevent_destroy: bool | None = None


@dataclass
class SecretScope:
    """A secret scope, and the Key Vault that it reads."""

    name: str
    backend_type: workspace.ScopeBackendType | None = None
    keyvault_metadata: workspace.AzureKeyVaultSecretScopeMetadata | None = None


@dataclass
class Dashboard:
    """A dashboard, whose queries name no catalog."""

    display_name: str
    file_path: str
    warehouse_id: str
    dataset_catalog: str | None = None
    dataset_schema: str | None = None
    parent_path: str | None = None
    embed_credentials: bool | None = None


class Mode(Enum):
    """The mode of a target."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass
class BundleSettings:
    """The key `bundle`."""

    name: str
    databricks_cli_version: str | None = None
    uuid: str | None = None
    target: str | None = None
    mode: Mode | None = None


@dataclass
class Presets:
    """The key `presets`."""

    name_prefix: str | None = None
    tags: dict[str, str] | None = None
    trigger_pause_status: jobs.PauseStatus | None = None
    jobs_max_concurrent_runs: int | None = None
    artifacts_dynamic_version: bool | None = None
    source_linked_deployment: bool | None = None


@dataclass
class Artifact:
    """One entry of `artifacts`."""

    type: str
    path: str
    build: str | None = None
    files: list[dict[str, str]] | None = None
    dynamic_version: bool | None = None


@dataclass
class Sync:
    """The key `sync`."""

    include: list[str] | None = None
    exclude: list[str] | None = None
    paths: list[str] | None = None


@dataclass
class Variable:
    """One entry of `variables`."""

    description: str
    default: Any = None
    type: str | None = None
    lookup: dict[str, str] | None = None


@dataclass
class WorkspaceSettings:
    """The key `workspace`; the CLI adds the current user."""

    host: str | None = None
    profile: str | None = None
    auth_type: str | None = None
    client_id: str | None = None
    azure_client_id: str | None = None
    azure_tenant_id: str | None = None
    azure_environment: str | None = None
    azure_login_app_id: str | None = None
    azure_use_msi: bool | None = None
    azure_workspace_resource_id: str | None = None
    root_path: str | None = None
    file_path: str | None = None
    artifact_path: str | None = None
    resource_path: str | None = None
    state_path: str | None = None
    current_user: dict[str, str] | None = None


@dataclass
class Experimental:
    """The key `experimental`."""

    skip_name_prefix_for_schema: bool | None = None
    python_wheel_wrapper: bool | None = None


_PERMISSIONS = Slot(list[Permission])
_GRANTS = Slot(list[Grant])
_LIFECYCLE = Slot(Lifecycle)
# Keys that the CLI writes, or that jobs of a bundle cannot have.
_NOT_OF_BUNDLES = ("deployment", "edit_mode", "format")


@cache
def resource_shapes() -> dict[str, Shape]:
    """The kinds of resources that are checked, and the keys of each."""
    job = _of_class(jobs.JobSettings) | {"permissions": _PERMISSIONS, "lifecycle": _LIFECYCLE}
    job |= {"name": Slot(str, required=True), "tasks": Slot(list[jobs.Task], required=True)}
    lifecycle = {"lifecycle": _LIFECYCLE}
    with_grants = {"grants": _GRANTS, **lifecycle}
    experiment = _of_method(ml.ExperimentsAPI.create_experiment)
    scope = {"permissions": Slot(list[ScopePermission]), "lifecycle": _LIFECYCLE}
    alert = {"permissions": _PERMISSIONS, "lifecycle": _LIFECYCLE, "file_path": Slot(str)}
    return {
        "jobs": {key: slot for key, slot in job.items() if key not in _NOT_OF_BUNDLES},
        "schemas": _of_method(catalog.SchemasAPI.create) | with_grants,
        "volumes": _of_method(catalog.VolumesAPI.create) | with_grants,
        "registered_models": _of_method(catalog.RegisteredModelsAPI.create) | with_grants,
        "experiments": experiment | {"permissions": _PERMISSIONS, "lifecycle": _LIFECYCLE},
        "secret_scopes": _of_class(SecretScope) | scope,
        "alerts": _of_class(sql.AlertV2) | alert,
        "dashboards": _of_class(Dashboard) | {"permissions": _PERMISSIONS, "lifecycle": _LIFECYCLE},
        "synced_database_tables": _of_class(database.SyncedDatabaseTable) | lifecycle,
        "postgres_synced_tables": _of_class(postgres.SyncedTableSyncedTableSpec)
        | {"synced_table_id": Slot(str, required=True)}
        | lifecycle,
        "model_serving_endpoints": _endpoint()
        | {"permissions": _PERMISSIONS, "lifecycle": _LIFECYCLE},
    }


def _endpoint() -> Shape:
    """The keys of an endpoint; a bundle does not repeat its name in `config`."""
    config = _of_class(serving.EndpointCoreConfigInput)
    inner = {key: slot for key, slot in config.items() if key != "name"}
    return _of_method(serving.ServingEndpointsAPI.create) | {"config": Slot(inner)}


def top_shape() -> Shape:
    """The keys of databricks.yml except `targets`, which is merged into the others."""
    groups = {kind: Slot(dict[str, Any]) for kind in resource_shapes()}
    return {
        "bundle": Slot(BundleSettings, required=True),
        "variables": Slot(dict[str, Variable]),
        "artifacts": Slot(dict[str, Artifact]),
        "sync": Slot(Sync),
        "presets": Slot(Presets),
        "experimental": Slot(Experimental),
        "permissions": _PERMISSIONS,
        "run_as": Slot(jobs.JobRunAs),
        "workspace": Slot(WorkspaceSettings),
        "resources": Slot(groups),
    }


def type_problems(tree: Keyed) -> Iterator[Problem]:
    """Differences between a resolved tree and the types."""
    yield from (problem(tree, path, text) for path, text in _wrong(tree, top_shape(), ()))
    for kind, shape in resource_shapes().items():
        for key, resource in tree.get("resources", {}).get(kind, {}).items():
            for path, text in _wrong(resource, shape, ("resources", kind, key)):
                yield problem(tree, path, text)


def _wrong(value: Any, kind: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    """Problems of `value` and all below it, for the expected `kind`: paths and texts."""
    kind = _plain(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if isinstance(kind, dict):
        yield from _wrong_mapping(value, kind, path)
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield from _wrong_mapping(value, _of_class(kind), path)
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield path, f"is {_name(value)}; expected: a {'list' if origin is list else 'mapping'}"
            return
        below = enumerate(value) if origin is list else value.items()
        for key, each in below:
            yield from _wrong(each, inner[-1], (*path, key))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        known = [each.value for each in kind]
        if value not in known:
            yield path, f"{value!r} is none of {_listed(str(value), known)}"
    elif isinstance(kind, type) and not _is_a(value, kind):
        yield path, f"is {_name(value)}; expected: {kind.__name__}"


def _wrong_mapping(value: Any, shape: Shape, path: Path_) -> Iterator[tuple[Path_, str]]:
    if not isinstance(value, dict):
        yield path, f"is {_name(value)}; expected: a mapping with {', '.join(sorted(shape))}"
        return
    for key, below in value.items():
        if key in shape:
            slot = shape[key]
            yield from _wrong(below, slot.type if isinstance(slot, Slot) else slot, (*path, key))
        else:
            yield (*path, key), f"unknown key; {_known(str(key), sorted(shape))}"
    for key, slot in shape.items():
        if slot.required and value.get(key) is None:
            yield path, f"{key} is missing"


def _known(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _listed(value: str, known: list[str]) -> str:
    if len(known) <= _LONG:
        return ", ".join(known)
    close = difflib.get_close_matches(value.upper(), known, n=3, cutoff=0.4)
    return f"{len(known)} values; {'near are ' if close else ''}{', '.join(close or known[:_LONG])}"


def _plain(kind: Any) -> Any:
    """`T` of `Optional[T]`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int) if kind is float else isinstance(value, kind)


def _name(value: Any) -> str:
    kinds: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "empty"}
    for kind, name in kinds.items():
        if isinstance(value, kind):
            return name
    return f"{type(value).__name__} {value!r}"


@cache
def _of_class(kind: type) -> Shape:
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        each.name: Slot(hints[each.name], each.default is missing is each.default_factory)
        for each in dataclasses.fields(kind)
    }


def _of_method(create: Callable[..., Any]) -> Shape:
    """The keys of a resource: the parameters of the SDK method that creates it."""
    hints = typing.get_type_hints(create)
    return {
        name: Slot(hints[name], each.default is inspect.Parameter.empty)
        for name, each in inspect.signature(create).parameters.items()
        if name != "self"
    }
