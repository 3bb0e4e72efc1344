"""Local secrets: from the environment, or from a file that only its owner can read."""

import json
import os
import re
import stat
from pathlib import Path

from matchlake.errors import SecretError, SecretMissingError
from matchlake.io.secrets.value import Secret, SecretRef

_OWNER_ONLY = 0o600


class EnvironmentSecrets:
    """Secrets from the environment: scope `a-b`, key `c` is MATCHLAKE_SECRET_A_B__C."""

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`; raises SecretMissingError if its variable is not set."""
        name = f"MATCHLAKE_SECRET_{_variable(ref.scope)}__{_variable(ref.key)}"
        value = os.environ.get(name)
        if value is None:
            raise SecretMissingError(
                f"{ref} is not set: set the variable {name}, or choose another store in conf."
            )
        return Secret(value)


def _variable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", text).upper()


class FileSecrets:
    """Secrets in a JSON file, `{scope: {key: value}}`, that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, ref: SecretRef) -> Secret:
        """The secret of `ref`; raises SecretError if other users can read the file."""
        value = self._read().get(ref.scope, {}).get(ref.key)
        if value is None:
            raise SecretMissingError(
                f"{ref} is not in {self._path}: `matchlake secrets put {ref.scope} {ref.key}`."
            )
        return Secret(value)

    def put(self, ref: SecretRef, value: Secret) -> None:
        """Writes or replaces a secret; each time in a new file that only its owner can read."""
        data = self._read()
        data.setdefault(ref.scope, {})[ref.key] = value.reveal()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._path, json.dumps(data, indent=1))

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            with self._path.open(encoding="utf-8") as file:
                _check_owner(self._path, os.fstat(file.fileno()))
                return _checked(json.load(file))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SecretError(f"{self._path} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError):
            # The error hides its cause, because the cause would show a part of the file.
            raise SecretError(
                f"{self._path} is not JSON of the form {{scope: {{key: value}}}}: fix it, or "
                "delete it and put its secrets again with `matchlake secrets put`."
            ) from None


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or found.st_uid != os.getuid():
        raise SecretError(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):o}, owner "
            f"{found.st_uid}), so its secrets are not used: run `chmod 600 {path}` as the owner."
        )


def _checked(data: object) -> dict[str, dict[str, str]]:
    if not isinstance(data, dict):
        raise TypeError
    for keys in data.values():
        if not isinstance(keys, dict) or not all(isinstance(one, str) for one in keys.values()):
            raise TypeError
    return data


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step with a file that only its owner can read and write."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    staged.replace(path)
