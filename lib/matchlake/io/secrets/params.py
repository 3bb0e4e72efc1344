"""The parameters of the secret stores; without Spark."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from matchlake.params import Params

StoreName = Literal["databricks", "key_vault", "environment", "file"]


class SecretsParams(Params):
    """The secret stores; `--set` cannot change them."""

    stores: tuple[StoreName, ...] = Field(("databricks",), min_length=1)
    """The stores in their order. If a store lacks a secret, the next one is tried; if it denies
    access, the job fails."""
    vaults: dict[str, str] = Field(default_factory=dict)
    """For `key_vault`: the address of each vault, by the scope in references to its secrets."""
    file: str | None = None
    """For `file`: a JSON file that only its owner may read; null: secrets.json below
    `lakehouse`."""
    cache_seconds: float = Field(300, ge=0)
    """Cache lifetime: a rotated secret is picked up after at most this long."""
    timeout_seconds: float = Field(30, gt=0)
    """How long a request is repeated while a store throttles or fails."""
    allowed_scopes: tuple[str, ...] = ()
    """Scopes that --set may name, besides those in the conf files."""

    @field_validator("vaults")
    @classmethod
    def _validate_addresses(cls, vaults: dict[str, str]) -> dict[str, str]:
        for scope, url in vaults.items():
            parts = urlsplit(url)
            if parts.scheme != "https" or not parts.hostname or parts.username or parts.query:
                raise ValueError(
                    f"the vault of {scope} must be an https address such as "
                    "https://NAME.vault.azure.net"
                )
        return vaults
