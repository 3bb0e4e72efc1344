"""The secrets that a config names, and the checks of those that --set names."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from matchlake.errors import ConfigError
from matchlake.io.secrets.value import SecretRef

_STORES = "secrets"
# Conf keys that decide where a secret is sent, and how; by the section that names the secret.
_WAYS = {
    "kafka": (
        "bootstrap_servers",
        "ssl",
        "event_hubs.namespace",
        "sasl.mechanism",
        "sasl.oauth.token_endpoint",
        "sasl.oauth.ca_file",
    ),
    "online": (
        "postgres.host",
        "postgres.port",
        "postgres.database",
        "postgres.user",
        "postgres.tls",
        "postgres.ca_file",
    ),
}


def secret_references(config: BaseModel) -> dict[str, SecretRef]:
    """Every reference to a secret in `config`, by its key."""
    values = _walk(config, "")
    return dict(sorted((path, value) for path, value in values if isinstance(value, SecretRef)))


def refuse_foreign_secrets(
    declared: Mapping[str, Any], overridden: Mapping[str, Any], config: BaseModel
) -> None:
    """Raises ConfigError if overrides name secrets that the conf files do not name.

    The right to start a job must not give access to every secret of the job's identity. `declared`
    is the data of the files, `overridden` the same after the overrides, `config` the result.
    """
    if declared.get(_STORES) != overridden.get(_STORES):
        raise ConfigError(
            "--set secrets...: only conf files can change the secret stores. Change them in "
            "conf/ENV.yml."
        )
    named = {
        (str(value["scope"]), str(value["key"]))
        for _, value in _walk(dict(declared), "")
        if isinstance(value, dict) and set(value) == {"scope", "key"}
    }
    allowed = (declared.get(_STORES) or {}).get("allowed_scopes") or ()
    for path, ref in secret_references(config).items():
        if (ref.scope, ref.key) not in named and ref.scope not in allowed:
            known = ", ".join(f"{scope}/{key}" for scope, key in sorted(named))
            raise ConfigError(
                f"--set {path}: conf does not use {ref} (it uses: {known or 'none'}). If this is "
                f"intended, add {ref.scope} to secrets.allowed_scopes in conf/ENV.yml."
            )


def refuse_redirected_secrets(
    declared: Mapping[str, Any], overridden: Mapping[str, Any], config: BaseModel
) -> None:
    """Raises ConfigError if overrides send a secret to another place than the conf files do.

    A user who may start a job must not be able to send its login to another broker. The arguments
    are those of `refuse_foreign_secrets`.
    """
    allowed = (declared.get(_STORES) or {}).get("allowed_scopes") or ()
    for path, ref in secret_references(config).items():
        section = path.partition(".")[0]
        ways = [f"{section}.{way}" for way in _WAYS.get(section, ())]
        moved = [way for way in ways if _at(declared, way) != _at(overridden, way)]
        if moved and ref.scope not in allowed:
            raise ConfigError(
                f"--set {moved[0]}: this would send {ref} ({path}) to another place than conf "
                f"does. Change {moved[0]} in conf/ENV.yml. If --set is intended, add {ref.scope} "
                "to secrets.allowed_scopes in conf/ENV.yml."
            )


def _at(data: Any, path: str) -> Any:
    """The value of a key in the conf files; None without one."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value in a model, a mapping or a sequence, at any depth, with its key."""
    for key, below in _below(value):
        path_below = f"{path}.{key}".lstrip(".")
        yield path_below, below
        yield from _walk(below, path_below)


def _below(value: Any) -> Iterator[tuple[Any, Any]]:
    match value:
        case SecretRef():
            pass
        case BaseModel():
            yield from ((name, getattr(value, name)) for name in type(value).model_fields)
        case dict():
            yield from value.items()
        case tuple() | list():
            yield from enumerate(value)
