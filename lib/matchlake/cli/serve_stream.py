"""`matchlake serve-stream`: a process of its own, without Spark."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import JobConfig, load_config
from matchlake.errors import ConfigError, InputError, MatchlakeError, SchemaError
from matchlake.io.brokers import configured_broker
from matchlake.io.secrets import SecretStore, secret_chain
from matchlake.recommender.id_types import exact_id
from matchlake.recommender.sides import ITEM
from matchlake.serve.erased import ErasedUsers, erased_users
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
        signal.signal(each, lambda *_: stop.set())
    newest = partial(newest_ranker, config, model)
    ranker = newest()
    assert ranker is not None  # noqa: S101 - no version is known yet
    loop = stream_loop(config, secrets, ranker, stop)
    loop.between = _Between(config.serve_stream.check_seconds, newest)
    counts = loop.run()
    _log.info(
        "%d events in %d transactions: %d refused, %d of erased users",
        *(counts.events, counts.transactions, counts.refused, counts.erased),
    )


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
            f"serve_stream.stream: {params.stream} is not a stream of conf; declared: "
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
    erased = erased_users(config.hash_file, config.erase.salt, secrets)
    lists = LiveLists(params, ranker, _history(config), erased)
    broker = configured_broker(config.kafka, config.lakehouse, secrets)
    return StreamLoop(params, stream, lists, broker.client_options(), stop.is_set)


def _history(config: JobConfig) -> ArrowTable | None:
    """The published table with the histories of before; None if conf names none."""
    name = config.serve_stream.history
    if name is None:
        return None
    if name not in config.online.tables or config.online.arrow_folder is None:
        raise ConfigError(
            f"serve_stream.history: {name} is not a table of online.tables that is published as "
            "an Arrow file (online.arrow_folder)."
        )
    return ArrowStore(Path(config.online.arrow_folder)).open(name)


class NumpyRanker:
    """A saved recommender in memory, as `serve-stream` asks it."""

    def __init__(self, model: Any, version: str) -> None:
        self._model, self.version = model, version
        if not hasattr(model, "fold_in_user") or not len(model.item_ids):
            raise ConfigError(
                f"The model of version {version} cannot fold in one user, which serve-stream "
                "needs: train with train.algorithm als or matchbox."
            )
        self._sample = model.item_ids[0]
        with suppress(InputError):  # 1 may not be a rating of this model
            self.best({str(self._sample): 1.0}, 1)  # compiles the kernels

    @classmethod
    def of_folder(cls, folder: Path, version: str) -> "NumpyRanker":
        """The model that is saved in a folder."""
        from matchlake.model_store.numpy import load_numpy  # noqa: PLC0415 - a second to import

        return cls(load_numpy(folder), version)

    def best(self, history: dict[str, float], k: int) -> list[tuple[str, float]]:
        """The best items for a history, without its items."""
        values = {}
        for item, value in history.items():
            with suppress(SchemaError):  # a string that is not an id of this model
                values[exact_id(item, self._sample)] = value
        row = self._model.fold_in_user(values)
        places = self._model.places(ITEM)
        seen = [item for item in values if item in places]
        best = self._model.recommend_items(row, k, exclude_seen=seen)
        return [(str(item), score) for item, score in best]


def newest_ranker(
    config: JobConfig, folder: Path | None, known: str | None = None
) -> Ranker | None:
    """The model of a folder, or else the champion; None if its version is `known`."""
    if folder is not None:
        version = str(folder.resolve())
        return None if version == known else NumpyRanker.of_folder(folder, version)
    from matchlake.io.mlflow_tracking import Tracker  # noqa: PLC0415 - seconds to import
    from matchlake.model_store.mlflow_flavor import FACTORS  # noqa: PLC0415

    tracker = Tracker(config.tracking, config.lakehouse)
    champion = tracker.require_champion()
    if champion.version == known:
        return None
    with tracker.files(champion, f"artifacts/{FACTORS}") as files:
        return NumpyRanker.of_folder(files, champion.version)


class _Between:
    """Runs between two transactions: loads a new champion, and forgets newly erased users.

    A thread looks for a champion, because the registry takes part of a second to answer.
    """

    def __init__(self, seconds: float, newest: Callable[[str], Ranker | None]) -> None:
        self._seconds, self._newest = seconds, newest
        self._found: Ranker | None = None
        self._look_at = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, loop: StreamLoop) -> None:
        if self._found is not None:
            loop.lists.ranker, self._found = self._found, None
            _log.info("version %s answers now", loop.lists.ranker.version)
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + self._seconds
        _forget_erased(loop)
        if self._thread is None or not self._thread.is_alive():
            known = loop.lists.ranker.version
            self._thread = threading.Thread(target=self._look, args=[known], daemon=True)
            self._thread.start()

    def _look(self, known: str) -> None:
        try:
            self._found = self._newest(known)
        except MatchlakeError as error:
            _log.warning("version %s stays: no new champion can be loaded: %s", known, error)


def _forget_erased(loop: StreamLoop) -> None:
    erased = loop.lists.erased
    if not isinstance(erased, ErasedUsers):
        return
    try:
        has_changed = erased.refresh()
    except MatchlakeError as error:
        _log.error("%s", error)
        return
    if has_changed:
        loop.forget([user for user in loop.lists.histories.users() if user in erased])
