"""Which secrets a config names, and which of them who starts a job may name."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from matchlake.errors import ConfigError
from matchlake.io.secrets.chain import SecretsParams
from matchlake.io.secrets.value import SecretRef


def secret_references(config: BaseModel) -> dict[str, SecretRef]:
    """Every reference to a secret in `config`, by the key under which it stands."""
    found: dict[str, SecretRef] = {}
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, SecretRef):
            found[path] = value
            continue
        waiting += [(f"{path}.{key}".lstrip("."), below) for key, below in _below(value)]
    return dict(sorted(found.items()))


def _below(value: Any) -> Iterator[tuple[Any, Any]]:
    match value:
        case BaseModel():
            yield from ((name, getattr(value, name)) for name in type(value).model_fields)
        case dict():
            yield from value.items()
        case tuple() | list():
            yield from enumerate(value)


def refuse_foreign_secrets(
    declared: BaseModel, config: BaseModel, stores: SecretsParams, stores_now: SecretsParams
) -> None:
    """Raises ConfigError where the overrides reach for secrets that the conf files do not name.

    Who may start a job may not thereby read any secret that the job's identity can read.
    `declared` is what the files say and `config` what came of it with the overrides; `stores`
    and `stores_now` are their `secrets`.
    """
    if stores_now != stores:
        raise ConfigError(
            "--set secrets...: where secrets come from is for conf files to say, not for who "
            "starts a job. Change it in conf/ENV.yml."
        )
    allowed = {ref.scope for ref in secret_references(declared).values()}
    allowed |= set(stores.allowed_scopes)
    for path, ref in secret_references(config).items():
        if ref.scope not in allowed:
            raise ConfigError(
                f"--set {path}: {ref} is in a scope that conf does not use (it uses: "
                f"{', '.join(sorted(allowed)) or 'none'}). Where that is meant, add {ref.scope} to "
                "secrets.allowed_scopes in conf/ENV.yml."
            )
