"""Every error that matchlake raises on purpose.

    MatchlakeError                 the product's own: the command line prints it as one message
    ├── ConfigError                conf/, --env or --set says something that cannot be
    ├── InputError                 the data or the arguments given are not acceptable
    │   ├── SchemaError            columns or types are not those declared
    │   └── ParameterError         a parameter is outside what it may be
    ├── SourceError                a source cannot be read: broker, topic, folder, table
    │   └── UnreachableError       a broker does not answer; later it may
    ├── TableError                 a Delta table is not in the state its job needs
    │   └── IdentityError          a stream's checkpoint, table and topic do not belong together
    ├── ReconciliationError        rows read are not rows good + rows quarantined
    ├── ModelError                 a saved or registered model is missing or does not fit
    ├── SecretError                a secret reference does not resolve (never holds the value)
    │   └── SecretMissingError     the store has no such scope or key
    ├── BundleError                databricks.yml or a file it includes is not what it has to be
    └── SandboxError               the laptop's sandbox: Java, jars, broker, disk, ports

A message names the value given, the possible values, and the way to fix it.
"""

import difflib
from collections.abc import Iterable
from typing import Self


class MatchlakeError(Exception):
    """Base of all errors that matchlake raises on purpose."""


class ConfigError(MatchlakeError):
    """Conf, `--env` or `--set` says something that cannot be."""


class InputError(MatchlakeError):
    """The data or the arguments given are not acceptable."""


class SchemaError(InputError):
    """Columns or types are not those declared."""

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
    """A parameter is outside what it may be."""


class SourceError(MatchlakeError):
    """A source cannot be read: broker, topic, folder, table."""


class UnreachableError(SourceError):
    """A broker does not answer; later it may."""


class TableError(MatchlakeError):
    """A Delta table is not in the state its job needs."""


class IdentityError(TableError):
    """A stream's checkpoint, table and topic do not belong together, or no longer do."""


class ReconciliationError(MatchlakeError):
    """Rows read are not rows good plus rows quarantined."""


class ModelError(MatchlakeError):
    """A saved or registered model is missing or does not fit."""


class SecretError(MatchlakeError):
    """A secret reference does not resolve; never holds the value."""


class SecretMissingError(SecretError):
    """The store asked has no such scope or key; another may have it."""


class BundleError(MatchlakeError):
    """`databricks.yml` or a file it includes is not what it has to be."""


class SandboxError(MatchlakeError):
    """Something of the laptop's sandbox is missing or broken: Java, jars, broker, disk, ports."""
