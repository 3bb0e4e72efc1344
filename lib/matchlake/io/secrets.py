"""Secrets: conf holds a reference, a store resolves it at the moment of connecting."""

import os
import re
from typing import NoReturn, Protocol

from matchlake.errors import SecretError
from matchlake.params import Params

_MASK = "[secret]"


class SecretRef(Params):
    """Names a secret, never its value: a key in a scope."""

    scope: str
    key: str

    def __str__(self) -> str:
        return f"secret {self.scope}/{self.key}"


class Secret:
    """A value that does not print: `reveal` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the client that connects with it."""
        return self._value

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, _spec: str) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise SecretError("A secret cannot be pickled: pass its reference, resolve it there.")


class SecretStore(Protocol):
    """Resolves references; raises SecretError where one cannot be resolved."""

    def get(self, ref: SecretRef) -> Secret:
        """The secret behind `ref`."""


class EnvironmentSecrets:
    """Secrets from the environment: scope `a-b`, key `c` is MATCHLAKE_SECRET_A_B__C."""

    def get(self, ref: SecretRef) -> Secret:
        """The secret behind `ref`; raises SecretError when its variable is not set."""
        name = f"MATCHLAKE_SECRET_{_variable(ref.scope)}__{_variable(ref.key)}"
        value = os.environ.get(name)
        if value is None:
            raise SecretError(f"{ref} is not set: export {name}, or choose another store in conf.")
        return Secret(value)


def _variable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", text).upper()
