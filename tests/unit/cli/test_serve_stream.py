"""What serve-stream makes of conf: streams and columns by name, histories and erased users."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.event_models import event_stream
from tests.support.live_streams import COLUMNS, CountingRanker
from tests.unit.serve.online.test_arrow_files import Batches

from matchlake.cli.serve_stream import OnlineErased, _Between, erased_users, stream_loop
from matchlake.config import JobConfig
from matchlake.errors import ConfigError
from matchlake.io.erased_users import Salt
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.serve.online.arrow_files import ArrowStore
from matchlake.serve.online.tables import Published

SALT = Salt(b"some salt")


def conf(folder: Path, **changes: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "env": "test",
            "lakehouse": str(folder),
            "checkpoints": str(folder / "checkpoints"),
            "kafka": {"bootstrap_servers": "127.0.0.1:9"},
            "streams": {"orders": event_stream("orders", columns=COLUMNS).model_dump()},
            "erase": {"salt": {"scope": "tests", "key": "salt"}},
            "online": {
                "stores": ["arrow"],
                "arrow_folder": str(folder / "online"),
                "tables": {
                    "erased": {"table": "silver.erased_users", "keys": ["user_hash"]},
                    "before": {"table": "silver.interactions", "keys": ["user_id", "item_id"]},
                },
            },
            "serve_stream": {"stream": "orders", "value": "weight", **changes},
        }
    )


def publish(folder: Path, name: str, table: pa.Table, version: int, *keys: str) -> None:
    about = Published("silver.any", version, "2024-05-01T10:00:00+00:00", keys)
    with ArrowStore(folder / "online").locked(name) as store:
        store.publish(name, Batches(table), about, allow_empty=True)


def erase(folder: Path, version: int, *users: str, salt: Salt = SALT) -> None:
    hashes = sorted(salt.hash(user) for user in users)
    table = pa.table(
        {"user_hash": pa.array(hashes, pa.string()), "salt_id": [salt.id] * len(users)}
    )
    publish(folder, "erased", table, version, "user_hash")


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATCHLAKE_SECRET_TESTS__SALT", SALT.key.decode())


def loop_of(config: JobConfig) -> Any:
    return stream_loop(config, EnvironmentSecrets(), CountingRanker(), threading.Event())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stream": "sales"}, "sales is no stream of conf; declared: orders"),
        ({"stream": None}, "None is no stream of conf"),
        ({"item_id": "product"}, "has no column product; its columns are user_id, item_id, weight"),
        ({"history": "lists"}, "lists is no table of online.tables"),
    ],
)
def test_what_is_not_declared_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loop_of(conf(tmp_path, **changes))


def test_a_history_of_before_comes_from_a_published_table(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["u", "u"], "item_id": ["a", "b"], "rating": [2.0, 3.0]})
    publish(tmp_path, "before", table, 1, "user_id", "item_id")
    loop = loop_of(conf(tmp_path, history="before"))
    assert loop.lists.history("u") == {"a": 2.0, "b": 3.0}


def test_erased_users_are_recognised_and_newly_erased_ones_forgotten(tmp_path: Path) -> None:
    erase(tmp_path, 1, "gone")
    config = conf(tmp_path, erased_users="erased")
    loop = loop_of(config)
    assert ("gone" in loop.lists.erased, "here" in loop.lists.erased) == (True, False)
    loop.lists.histories.put("here", {"i": 1.0})
    loop.lists.histories.put("later", {"i": 1.0})
    between = _Between(config, Same(), threading.Event())  # type: ignore[arg-type]
    between(loop)
    assert loop._forgotten == []
    erase(tmp_path, 2, "gone", "later")
    loop.lists.erased.table.refresh()
    between._look_at = 0.0
    between(loop)
    assert loop._forgotten == ["later"]


class Same:
    """A registry whose champion stays."""

    def newest(self, _known: str) -> None:
        raise LookupError


def test_hashes_of_another_salt_are_refused(tmp_path: Path) -> None:
    erase(tmp_path, 1, "gone", salt=Salt(b"another salt"))
    with pytest.raises(ConfigError, match=r"The secret of erase\.salt is not that"):
        erased_users(conf(tmp_path, erased_users="erased"), EnvironmentSecrets())
    erase(tmp_path, 2, "gone")
    found = erased_users(conf(tmp_path, erased_users="erased"), EnvironmentSecrets())
    assert isinstance(found, OnlineErased)
