"""What serve-stream makes of conf, of models, and of users who are erased while it runs."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from tests.support.event_models import event_stream
from tests.support.live_streams import COLUMNS, CountingRanker
from tests.unit.serve.online.test_arrow_files import Batches

from matchlake.cli.serve_stream import NumpyRanker, _Between, stream_loop
from matchlake.config import JobConfig
from matchlake.errors import ConfigError, InputError
from matchlake.io.salt import Salt
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
                    "before": {"table": "silver.interactions", "keys": ["user_id", "item_id"]},
                },
            },
            "serve_stream": {"stream": "orders", "value": "weight", **changes},
        }
    )


def erase(folder: Path, *users: str) -> None:
    content = {"salt_id": SALT.id, "hashes": [SALT.hash(user) for user in users]}
    (folder / "erased_users.json").write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATCHLAKE_SECRET_TESTS__SALT", SALT.key.decode())


def loop_of(config: JobConfig) -> Any:
    return stream_loop(config, EnvironmentSecrets(), CountingRanker(), threading.Event())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stream": "sales"}, "sales is not a stream of conf; declared: orders"),
        ({"stream": None}, "None is not a stream of conf"),
        ({"item_id": "product"}, "has no column product; its columns are user_id, item_id, weight"),
        ({"history": "lists"}, "lists is not a table of online.tables"),
    ],
)
def test_what_is_not_declared_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loop_of(conf(tmp_path, **changes))


def test_a_history_of_before_comes_from_a_published_table(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["u", "u"], "item_id": ["a", "b"], "rating": [2.0, 3.0]})
    about = Published("silver.any", 1, "2024-05-01T10:00:00+00:00", ("user_id", "item_id"))
    with ArrowStore(tmp_path / "online").locked("before") as store:
        store.publish("before", Batches(table), about)
    loop = loop_of(conf(tmp_path, history="before"))
    assert loop.lists.history("u") == {"a": 2.0, "b": 3.0}


class Champions:
    """A registry with one champion after the other; None: the known one."""

    def __init__(self, *champions: Any) -> None:
        self.champions = [*champions]

    def __call__(self, _known: str) -> Any:
        found = self.champions.pop(0) if self.champions else None
        if isinstance(found, Exception):
            raise found
        return found


def between(loop: Any, champions: Champions) -> _Between:
    found = _Between(0.0, champions)
    found(loop)
    assert found._thread is not None
    found._thread.join()
    return found


def test_erased_users_are_recognised_and_newly_erased_ones_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    erase(tmp_path, "gone")
    loop = loop_of(conf(tmp_path))
    assert ("gone" in loop.lists.erased, "here" in loop.lists.erased) == (True, False)
    for user in ("here", "later"):
        loop.lists.histories.put(user, {"i": 1.0})
    between(loop, Champions())
    assert loop._forgotten == set()
    erase(tmp_path, "gone", "later")
    between(loop, Champions())
    assert loop._forgotten == {"later"}
    (tmp_path / "erased_users.json").unlink()
    between(loop, Champions())
    assert "was deleted" in caplog.text
    assert "later" in loop.lists.erased


def test_a_user_who_was_erased_while_no_process_ran_is_deleted(tmp_path: Path) -> None:
    erase(tmp_path, "gone")
    loop = loop_of(conf(tmp_path))
    for user, value in (("here", b'{"i": 1.0}'), ("gone", b'{"i": 1.0}'), ("here", None)):
        loop._restore_one(SimpleNamespace(key=user.encode(), value=value))
    assert (list(loop.lists.histories.users()), loop._forgotten) == ([], {"gone"})
    loop._restore_one(SimpleNamespace(key=b"gone", value=None))
    assert loop._forgotten == set()


def test_a_new_champion_answers_and_one_that_cannot_be_loaded_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = loop_of(conf(tmp_path))
    new = CountingRanker()
    new.version = "4"
    between(loop, Champions(ConfigError("no fold-in")))
    assert (loop.lists.ranker.version, "version 3 stays" in caplog.text) == ("3", True)
    looked = between(loop, Champions(new))
    looked(loop)
    assert loop.lists.ranker.version == "4"


class WholeIds:
    """A model of whole numbers as ids."""

    item_ids = (7, 8)

    def fold_in_user(self, history: dict[Any, float]) -> dict[Any, float]:
        if 1.0 in history.values():
            raise InputError("1 is no rating of this model")
        return history

    def places(self, _side: int) -> dict[int, int]:
        return {7: 0, 8: 1}

    def recommend_items(self, row: Any, k: int, exclude_seen: list[int]) -> list[Any]:
        return [(item, row[7]) for item in self.item_ids if item not in exclude_seen][:k]


@pytest.mark.parametrize("item", ["--7", "\u00b2", "7.0", "007", "x"])
def test_an_item_that_is_no_id_of_the_model_does_not_count(item: str) -> None:
    assert NumpyRanker(WholeIds(), "1").best({"7": 2.0, item: 3.0}, 5) == [("8", 2.0)]


def test_a_model_without_fold_in_of_one_user_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot fold in one user"):
        NumpyRanker(SimpleNamespace(item_ids=["i"], capabilities={"fold_in_users"}), "2")
