"""`matchlake serve-stream`: a process of its own, without Spark."""

import hmac
import logging
import signal
import threading
import time
from collections.abc import Container
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import JobConfig, load_config
from matchlake.errors import ConfigError, MatchlakeError
from matchlake.io.brokers import configured_broker
from matchlake.io.secrets import SecretStore, secret_chain
from matchlake.serve.online.arrow_files import ArrowStore, ArrowTable
from matchlake.serve.stream.live_lists import LiveLists, Ranker
from matchlake.serve.stream.loop import StreamLoop

_log = logging.getLogger("matchlake.serve_stream")


def serve_stream(
    *,
    model: Annotated[
        Path | None, typer.Option(help="folder of a saved recommender; default: the champion's")
    ] = None,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Folds each event of a stream into its user at once, and emits the new list.

    Lists, histories and offsets are one Kafka transaction: a consumer that reads committed records
    sees the list of each event once. It runs until Ctrl-C or SIGTERM. A second process with the
    same group takes over from the first.

    For example: matchlake serve-stream --env prod
    """
    config = load_config(env, overrides or [], conf_dir)
    _start_logging()
    secrets = secret_chain(config.secrets, config.lakehouse)
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda _signal, _frame: _stop(stop, _frame))
    models = _Models(config, model)
    loop = stream_loop(config, secrets, models.newest(), stop)
    loop.between = _Between(config, models, stop)
    counts = loop.run()
    _log.info("%s", counts)


def _stop(stop: threading.Event, _frame: FrameType | None) -> None:
    stop.set()


def _start_logging() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True)
    logging.getLogger("matchlake").setLevel(logging.INFO)
    from matchlake.io.secrets import mask_log  # noqa: PLC0415 - after the handlers are there

    mask_log()


def stream_loop(
    config: JobConfig, secrets: SecretStore, ranker: Ranker, stop: threading.Event
) -> StreamLoop:
    """The loop of conf; raises ConfigError for what is not declared."""
    params = config.serve_stream
    if params.stream is None or params.stream not in config.streams:
        raise ConfigError(
            f"serve_stream.stream: {params.stream} is no stream of conf; declared: "
            f"{', '.join(config.streams) or 'none'}."
        )
    stream = config.streams[params.stream]
    wanted = [params.user_id, params.item_id, *filter(None, [params.value])]
    missing = [name for name in wanted if name not in stream.columns]
    if missing:
        raise ConfigError(
            f"serve_stream: stream {params.stream} has no column {', '.join(missing)}; its columns "
            f"are {', '.join(stream.columns)}."
        )
    before = _published(config, params.history, "history")
    lists = LiveLists(params, ranker, before, erased_users(config, secrets))
    broker = configured_broker(config.kafka, config.lakehouse, secrets)
    return StreamLoop(params, stream, lists, broker.client_options(), stop.is_set)


def _published(config: JobConfig, name: str | None, key: str) -> ArrowTable | None:
    """The Arrow file of a table of `online.tables`; None if conf names none."""
    if name is None:
        return None
    if name not in config.online.tables or config.online.arrow_folder is None:
        raise ConfigError(
            f"serve_stream.{key}: {name} is no table of online.tables that is published as an "
            "Arrow file (online.arrow_folder)."
        )
    return ArrowStore(Path(config.online.arrow_folder)).open(name)


class OnlineErased(Container[str]):
    """The erased users of a published table of hashes."""

    def __init__(self, table: ArrowTable, salt: bytes) -> None:
        self.table, self._salt = table, salt

    def __contains__(self, user: object) -> bool:
        hashed = hmac.digest(self._salt, str(user).encode(), "sha256").hex()
        return bool(self.table.rows(hashed))


def erased_users(config: JobConfig, secrets: SecretStore) -> Container[str]:
    """The erased users of conf; raises ConfigError without the salt of their hashes."""
    table = _published(config, config.serve_stream.erased_users, "erased_users")
    if table is None:
        return ()
    if config.erase.salt is None:
        raise ConfigError("serve_stream.erased_users needs erase.salt in conf.")
    salt = secrets.get(config.erase.salt).reveal().encode()
    expected = hmac.digest(salt, b"", "sha256").hex()[:16]
    for batch in table:
        if any(each != expected for each in batch.column("salt_id").to_pylist()):
            raise ConfigError("The secret of erase.salt is not that of the published hashes.")
    return OnlineErased(table, salt)


class NumpyRanker:
    """A saved recommender in memory, as `serve-stream` asks it."""

    def __init__(self, model: Any, version: str) -> None:
        self._model, self.version = model, version
        if "fold_in_users" not in model.capabilities:
            raise ConfigError(
                f"The model of version {version} has no fold-in of users, which serve-stream "
                "needs: train with train.algorithm als."
            )
        items = model.item_ids
        self._typed = int if len(items) and isinstance(items[0], int) else str
        self.best({str(items[0]): 1.0}, 1)  # compiles the kernels

    @classmethod
    def of_folder(cls, folder: Path, version: str) -> "NumpyRanker":
        """The model that is saved in a folder."""
        from matchlake.model_store.numpy import load_numpy  # noqa: PLC0415 - a second to import

        return cls(load_numpy(folder), version)

    def best(self, history: dict[str, float], k: int) -> list[tuple[str, float]]:
        """The best items for a history, without its items."""
        known = {}
        for item, value in history.items():
            if self._typed is str or item.lstrip("-").isdigit():
                known[self._typed(item)] = value
        row = self._model.fold_in_user(known)
        places = self._model.places(1)
        seen = [item for item in known if item in places]
        return [
            (str(item), score)
            for item, score in self._model.recommend_items(row, k, exclude_seen=seen)
        ]


class _Models:
    """The newest model: of a folder, or the champion's."""

    def __init__(self, config: JobConfig, folder: Path | None) -> None:
        self._config, self._folder = config, folder

    def newest(self, known: str | None = None) -> Ranker:
        """The newest model; raises LookupError if its version is `known`."""
        if self._folder is not None:
            version = str(self._folder.resolve())
            if version == known:
                raise LookupError
            return NumpyRanker.of_folder(self._folder, version)
        from matchlake.io.mlflow_tracking import Tracker  # noqa: PLC0415 - seconds to import
        from matchlake.model_store.mlflow_flavor import FACTORS  # noqa: PLC0415

        tracker = Tracker(self._config.tracking, self._config.lakehouse)
        champion = tracker.require_champion()
        if champion.version == known:
            raise LookupError
        with tracker.files(champion, f"artifacts/{FACTORS}") as folder:
            return NumpyRanker.of_folder(folder, champion.version)


class _Between:
    """Between two transactions: takes a new champion, and forgets newly erased users.

    A thread looks for them, because the registry takes part of a second to answer.
    """

    def __init__(self, config: JobConfig, models: _Models, stop: threading.Event) -> None:
        self._seconds, self._models, self._stop = config.serve_stream.check_seconds, models, stop
        self._found: Ranker | None = None
        self._mark: int | None = None
        self._look_at = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, loop: StreamLoop) -> None:
        if self._found is not None:
            loop.lists.ranker, self._found = self._found, None
            _log.info("version %s answers now", loop.lists.ranker.version)
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + self._seconds
        self._forget_erased(loop)
        if self._thread is None or not self._thread.is_alive():
            known = loop.lists.ranker.version
            self._thread = threading.Thread(target=self._look, args=[known], daemon=True)
            self._thread.start()

    def _look(self, known: str) -> None:
        try:
            self._found = self._models.newest(known)
        except LookupError:
            return
        except MatchlakeError as error:
            _log.warning("the champion is not known now, asked again: %s", error)

    def _forget_erased(self, loop: StreamLoop) -> None:
        erased = loop.lists.erased
        if not isinstance(erased, OnlineErased):
            return
        version = erased.table.published.delta_version
        if version != self._mark:
            self._mark = version
            loop.forget([user for user in loop.lists.histories.users() if user in erased])
