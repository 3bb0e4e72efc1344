"""Which secrets a config names, and which of them who starts a job may name."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from matchlake.errors import ConfigError
from matchlake.io.secrets.value import SecretRef

_STORES = "secrets"
# By the section of conf that names a secret: what decides where it is sent, and how.
_WAYS = {
    "kafka": (
        "bootstrap_servers",
        "tls",
        "event_hubs.namespace",
        "login.mechanism",
        "login.oauth.token_endpoint",
        "login.oauth.ca",
    )
}


def secret_references(config: BaseModel) -> dict[str, SecretRef]:
    """Every reference to a secret in `config`, by the key under which it stands."""
    places = _walk(config, "")
    return dict(sorted((path, value) for path, value in places if isinstance(value, SecretRef)))


def refuse_foreign_secrets(
    declared: Mapping[str, Any], overridden: Mapping[str, Any], config: BaseModel
) -> None:
    """Raises ConfigError where overrides reach for secrets that the conf files do not name.

    Who may start a job may not thereby read any secret that the job's identity can read.
    `declared` is what the files say, `overridden` the same after the overrides, and `config`
    what came of that.
    """
    if declared.get(_STORES) != overridden.get(_STORES):
        raise ConfigError(
            "--set secrets...: where secrets come from is for conf files to say, not for who "
            "starts a job. Change it in conf/ENV.yml."
        )
    named = {
        str(value["scope"])
        for _, value in _walk(dict(declared), "")
        if isinstance(value, dict) and set(value) == {"scope", "key"}
    }
    named |= set((declared.get(_STORES) or {}).get("allowed_scopes") or ())
    for path, ref in secret_references(config).items():
        if ref.scope not in named:
            raise ConfigError(
                f"--set {path}: {ref} is in a scope that conf does not use (it uses: "
                f"{', '.join(sorted(named)) or 'none'}). Where that is meant, add {ref.scope} to "
                "secrets.allowed_scopes in conf/ENV.yml."
            )


def refuse_redirected_secrets(
    declared: Mapping[str, Any], overridden: Mapping[str, Any], config: BaseModel
) -> None:
    """Raises ConfigError where overrides send a secret elsewhere than the conf files do.

    Who may start a job may not thereby have its login handed to a broker of their own. Arguments
    as those of `refuse_foreign_secrets`.
    """
    allowed = (declared.get(_STORES) or {}).get("allowed_scopes") or ()
    for path, ref in secret_references(config).items():
        section = path.partition(".")[0]
        ways = [f"{section}.{way}" for way in _WAYS.get(section, ())]
        moved = [way for way in ways if _at(declared, way) != _at(overridden, way)]
        if moved and ref.scope not in allowed:
            raise ConfigError(
                f"--set {moved[0]}: {ref} ({path}) would go another way than conf files say. "
                f"Change it in conf/ENV.yml; or, where that is meant, add {ref.scope} to "
                "secrets.allowed_scopes there."
            )


def _at(data: Any, path: str) -> Any:
    """What stands at a key of the conf files; None where nothing does."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All that is in a model, a mapping or a sequence, and in those in it; with its key."""
    for key, below in _below(value):
        place = f"{path}.{key}".lstrip(".")
        yield place, below
        yield from _walk(below, place)


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
