"""Every error that matchlake raises on purpose.

    MatchlakeError                 the product's own: the command line prints it as one message
    ├── ConfigError                invalid configuration in conf/, --env or --set
    ├── InputError                 data or arguments are not acceptable
    │   ├── SchemaError            columns or types are not as declared
    │   ├── ParameterError         a parameter is outside its range
    │   └── EngineError            an engine beside Spark cannot give the rows that Spark gives
    ├── FitError                   a fit learned nothing from its data
    ├── SourceError                a source cannot be read: broker, topic, folder, table
    │   └── UnreachableError       a broker does not answer at the moment
    ├── TableError                 a Delta table is not in the state that its job needs
    │   └── CheckpointMismatchError          a stream's checkpoint, table and topic do not match
    ├── ReconciliationError        rows read are not rows valid + rows quarantined
    ├── ModelError                 a saved or registered model is missing or does not fit
    │   └── ModelGoneError         its run, files or training data no longer exist
    ├── SecretError                a secret reference does not resolve (never holds the value)
    │   └── SecretMissingError     the store has no such scope or key
    ├── WorkspaceError             a workspace lacks what the jobs need: catalog, grants, features
    ├── BundleError                databricks.yml or an included file is invalid
    └── SandboxError               the local sandbox: Java, jars, broker, disk, ports

A message names the value given, the possible values, and the way to fix it.
"""

import difflib
from collections.abc import Iterable
from typing import Self


class MatchlakeError(Exception):
    """Base of all errors that matchlake raises on purpose."""


class ConfigError(MatchlakeError):
    """Invalid configuration in conf/, `--env` or `--set`."""


class InputError(MatchlakeError):
    """Data or arguments are not acceptable."""


class SchemaError(InputError):
    """Columns or types are not as declared."""

    @classmethod
    def missing(cls, where: str, names: Iterable[str], available: Iterable[str]) -> Self:
        """The error that `where` lacks columns `names`; it lists what is available."""
        names, available = list(names), list(available)
        text = (
            f"Missing column(s) in {where}: {', '.join(names)}. "
            f"Available: {', '.join(available) or 'none'}."
        )
        for name in names:
            near = difflib.get_close_matches(name, available, n=1, cutoff=0.6)
            text += f" Did you mean {near[0]} instead of {name}?" if near else ""
        return cls(text)


class ParameterError(InputError, ValueError):
    """A parameter is outside its range."""

    @classmethod
    def unknown(cls, reason: str, name: str, label: str, known: Iterable[str]) -> Self:
        """The error that `name` is unknown; it has the nearest known name, and all of them."""
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        return cls(f"{reason}{hint} {label}: {', '.join(names)}.")


class EngineError(InputError):
    """An engine beside Spark cannot give the rows that Spark gives, or cannot see the tables."""


class FitError(MatchlakeError):
    """A fit learned nothing from its data; the message has the cause and what to change."""


class SourceError(MatchlakeError):
    """A source cannot be read: broker, topic, folder, table."""


class UnreachableError(SourceError):
    """A broker does not answer at the moment."""


class TableError(MatchlakeError):
    """A Delta table is not in the state that its job needs."""


class CheckpointMismatchError(TableError):
    """A stream's checkpoint, table and topic do not match."""


class ReconciliationError(MatchlakeError):
    """Rows read are not rows valid plus rows quarantined."""


class ModelError(MatchlakeError):
    """A saved or registered model is missing or does not fit."""


class ModelGoneError(ModelError):
    """The run, the files or the training data of a registered model no longer exist."""


class SecretError(MatchlakeError):
    """A secret reference does not resolve; never holds the value."""


class SecretMissingError(SecretError):
    """The store has no such scope or key; another store may have it."""


class WorkspaceError(MatchlakeError):
    """A workspace lacks what the jobs need: its catalog, grants, or features of its runtime."""


class BundleError(MatchlakeError):
    """`databricks.yml` or an included file is invalid."""


class SandboxError(MatchlakeError):
    """Something of the local sandbox is missing or broken: Java, jars, broker, disk, ports."""
