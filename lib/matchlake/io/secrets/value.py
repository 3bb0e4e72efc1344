"""References to secrets, for conf, and their values, which are never shown."""

import hmac
from typing import Any, NoReturn, Protocol, Self

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from matchlake.errors import SecretError
from matchlake.io.secrets.masking import MASK, remember
from matchlake.params import Params


class SecretRef(Params):
    """A reference to a secret: a key in a scope."""

    scope: str = Field(pattern=r"^[A-Za-z0-9_.@-]{1,128}$")
    """The Databricks secret scope, or a name in `secrets.vaults`."""
    key: str = Field(pattern=r"^[A-Za-z0-9_.@-]{1,128}$")
    """The key in the scope; in Key Vault the secret's name, of letters, digits and hyphens."""

    def __str__(self) -> str:
        return f"secret {self.scope}/{self.key}"


class Secret:
    """A value that does not print: only `reveal` returns it.

    It is masked in repr, str, format, JSON and pydantic's dumps, and it cannot be pickled. The
    product's log masks it in any other text.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        remember(value)
        self.__value = value

    def reveal(self) -> str:
        """The value itself, for the client that connects with it."""
        return self.__value

    def __repr__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would leak the value

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise SecretError(
            "A secret cannot be pickled: send its reference, and resolve the reference there."
        )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: MASK)
        )


class SecretStore(Protocol):
    """Resolves references to secrets."""

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`.

        Raises:
            SecretMissingError: the store has no such scope or key; another store may have it.
            SecretError: the store denies access to the secret, or does not answer.
        """
