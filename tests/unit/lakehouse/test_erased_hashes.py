"""The file of erased users that an erasure writes is the one that a server reads."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matchlake.config import JobConfig
from matchlake.errors import ConfigError
from matchlake.io.erased_users import ErasedUsers
from matchlake.io.salt import Salt
from matchlake.io.secrets import EnvironmentSecrets, SecretRef
from matchlake.lakehouse.user_erasure import write_hashes
from matchlake.serve.erased import ErasedUsers as ServedErasedUsers
from matchlake.serve.erased import erased_users

SALT = Salt(b"a salt of a test")


class Lake:
    """What is asked of a lakehouse: the erased users."""

    def __init__(self, *users: str) -> None:
        hashes = frozenset(map(SALT.hash, users))
        self._erased = ErasedUsers(SALT, hashes) if users else None

    def erased_users(self) -> ErasedUsers | None:
        return self._erased


def config(folder: Path, **erase: Any) -> JobConfig:
    return JobConfig.model_validate(
        {"env": "local", "lakehouse": str(folder), "checkpoints": "x", "erase": erase}
    )


def test_a_server_knows_the_users_of_the_last_erasure(tmp_path: Path) -> None:
    conf = config(tmp_path)
    path = tmp_path / "erased_users.json"
    served = ServedErasedUsers(path, SALT.key.decode)
    assert "ann" not in served
    lake: Any = Lake("ann", "späť")
    write_hashes(conf, lake)
    served.refresh()
    assert [user in served for user in ("ann", "späť", "bob")] == [True, True, False]
    write_hashes(conf, Lake("ann", "späť", "bob"))  # type: ignore[arg-type]
    served.refresh()
    assert "bob" in served
    assert [each.name for each in tmp_path.iterdir()] == ["erased_users.json"]
    assert "ann" not in path.read_text()
    with pytest.raises(ConfigError, match=r"The secret of erase\.salt has changed"):
        ServedErasedUsers(path, lambda: "another salt")
    with pytest.raises(ConfigError, match=r"has 3 erased user\(s\), but conf has no erase\.salt"):
        ServedErasedUsers(path, None)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is not a file of erased users"):
        served.refresh()
    path.unlink()
    with pytest.raises(ConfigError, match=r"was deleted. Its users stay erased"):
        served.refresh()
    assert "bob" in served


def test_a_process_without_the_file_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert erased_users(None, None, EnvironmentSecrets()) is None
    assert caplog.text == ""
    assert erased_users(None, SecretRef(scope="s", key="k"), EnvironmentSecrets()) is None
    assert "erased users are unknown here" in caplog.text


def test_an_erasure_at_the_same_time_is_not_lost(tmp_path: Path) -> None:
    lake, later = Lake("ann"), Lake("ann", "bob")
    found = iter([lake, later, later])
    both: Any = SimpleNamespace(erased_users=lambda: next(found).erased_users())
    write_hashes(config(tmp_path), both)
    assert "bob" in ServedErasedUsers(tmp_path / "erased_users.json", SALT.key.decode)


def test_conf_names_the_file(tmp_path: Path) -> None:
    named = tmp_path / "volume" / "erased.json"
    write_hashes(config(tmp_path, hash_file=str(named)), Lake("ann"))  # type: ignore[arg-type]
    assert named.is_file()
    write_hashes(config(tmp_path), Lake())  # type: ignore[arg-type]
    assert not (tmp_path / "erased_users.json").exists()
