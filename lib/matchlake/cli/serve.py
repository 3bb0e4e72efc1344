"""`matchlake serve`: a model behind HTTP. The process itself imports no Spark, pandas or MLflow."""

import fcntl
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.errors import ModelError
from matchlake.serve.fleet import Fleet, Worker, counters_file, listen

if TYPE_CHECKING:
    from matchlake.config import JobConfig

_log = logging.getLogger(__name__)
_PROGRAM = "from matchlake.cli.main import main; main()"
_POINTER = "current"
_KEPT = 2


def serve(  # noqa: PLR0913 - the options of a command
    model: Annotated[str, typer.Argument(help="an export (file or folder), or a registered model")],
    *,
    port: Annotated[int | None, typer.Option(help="default: serving.port; 0: a free one")] = None,
    workers: Annotated[int | None, typer.Option(help="default: serving.workers")] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="only export the champion into the cache, and end")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Serves a model over HTTP, until Ctrl-C or SIGTERM.

    It answers MLflow's protocol (/invocations, /ping), KServe's (/v2), for a recommender
    /recommend/USER and /similar/ITEM, and /metrics, /openapi.json and a page at /. A changed
    export, or a new champion, replaces the model without a lost answer.

    A registered model is exported first, into serving.cache. --prepare does only that, for example
    when an image is built.

    For example: matchlake serve churn.onnx, then open http://127.0.0.1:8080
    """
    if prepare:
        _prepare(model, env, overrides or [], conf_dir)
        return
    # The process loads its packages while this one reads conf.
    first = Worker()
    try:
        from matchlake.config import load_config  # noqa: PLC0415 - seconds to import

        chosen = list(overrides or [])
        chosen += [] if port is None else [f"serving.port={port}"]
        chosen += [] if workers is None else [f"serving.workers={workers}"]
        config = load_config(env, chosen, conf_dir)
        again = [*_options(env, overrides or [], conf_dir), "--prepare"]
        _serve(config, model, again, first)
    finally:
        first.end()


def _serve(config: "JobConfig", model: str, options: list[str], first: Worker) -> None:
    """Serves until it is stopped; `options` are those of the command that exports again."""
    params = config.serving
    path = Path(model)
    refresher: _Refresher | None = None
    if not path.exists():
        path = cache_of(config, model)
        refresher = _Refresher([model, *options], params.refresh_seconds)
        if not (path / _POINTER).is_file():
            refresher.wait()
    counters = counters_file()
    listener = listen(params.host, params.port)
    try:
        from matchlake.serve.metrics import Metrics  # noqa: PLC0415 - it brings NumPy

        Metrics.create(counters, params.workers)
        fleet = Fleet(_settings(config, path, counters), listener, first)
        try:
            served = fleet.start()
            _tell(config, served, listener.getsockname()[1])
            fleet.run(params.request_seconds + 5, refresher.look if refresher else lambda: None)
        finally:
            if refresher:
                refresher.end()
            fleet.stop(params.request_seconds + 5)
    finally:
        listener.close()
        shutil.rmtree(counters.parent, ignore_errors=True)


def _tell(config: "JobConfig", served: dict[str, Any], port: int) -> None:
    scheme = "https" if config.serving.tls else "http"
    host = f"[{config.serving.host}]" if ":" in config.serving.host else config.serving.host
    typer.echo(
        f"Serving {served['name']} version {served['version']} at {scheme}://{host}:{port} "
        f"({config.serving.workers} process(es)). Ctrl-C ends it."
    )


def _settings(config: "JobConfig", path: Path, counters: Path) -> dict[str, Any]:
    from matchlake.serve.settings import ServerSettings  # noqa: PLC0415 - it brings pydantic

    erased = config.hash_file
    settings = ServerSettings(
        path=str(path.absolute()),
        serving=config.serving,
        secrets=config.secrets,
        kafka=config.kafka,
        lakehouse=config.lakehouse,
        salt=config.erase.salt,
        erased_users=erased and erased.absolute(),
        metrics=str(counters),
        worker=0,
        workers=config.serving.workers,
    )
    found: dict[str, Any] = settings.model_dump(mode="json")
    return found


class _Refresher:
    """Exports a new champion in another process, at intervals."""

    def __init__(self, arguments: list[str], seconds: float | None) -> None:
        self._command = [sys.executable, "-c", _PROGRAM, "serve", *arguments]
        self._seconds = seconds
        self._next = time.monotonic()
        self._running: subprocess.Popen[bytes] | None = None

    def wait(self) -> None:
        """Exports once, and waits for the end. Raises ModelError if the export fails."""
        done = subprocess.run(self._command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            last = done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
            raise ModelError(last or f"The export failed with exit code {done.returncode}.")
        self._next = time.monotonic() + (self._seconds or 0)

    def look(self) -> None:
        """Starts an export if it is time, and none is running."""
        if self._running is not None and self._running.poll() is not None:
            self._running = None
        if self._seconds is None or self._running is not None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._seconds
        try:
            self._running = subprocess.Popen(  # noqa: S603 - this program itself
                self._command, stdout=subprocess.DEVNULL
            )
        except OSError as error:  # without memory for another process the server goes on
            _log.error("no look for a new champion now: %s", error)

    def end(self) -> None:
        """Ends an export that is running."""
        if self._running is not None:
            self._running.terminate()
            self._running.wait()


def cache_of(config: "JobConfig", name: str) -> Path:
    """The folder with the exports of a registered model. Raises ModelError for an unknown name."""
    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise ModelError(
            f"{name} does not exist, and is not the name of a model. Give an export, or a name "
            "`matchlake models list` shows."
        )
    if config.serving.cache:
        return Path(config.serving.cache) / name
    if config.lakehouse:
        return Path(config.lakehouse) / "serving" / name
    return Path.home() / ".cache" / "matchlake" / "serving" / name


def _prepare(name: str, env: str, overrides: list[str], conf_dir: Path | None) -> None:
    """Exports the champion of a registered model, unless its export is there."""
    from matchlake.cli.exports import Format, export  # noqa: PLC0415
    from matchlake.config import load_config  # noqa: PLC0415
    from matchlake.lakehouse.registered_models import chosen_version, tracker_of  # noqa: PLC0415

    config = load_config(env, overrides, conf_dir)
    folder = cache_of(config, name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # servers may share the folder
        number = chosen_version(tracker_of(config, name), name, None).version
        made = folder / f"v{number}"
        if not made.is_dir():
            export(
                name,
                format_=Format.FOLDER,
                to=made,
                model_version=number,
                env=env,
                overrides=overrides,
                conf_dir=conf_dir,
            )
        partial = folder / f".{_POINTER}"
        partial.write_text(made.name, encoding="utf-8")
        partial.replace(folder / _POINTER)
        _remove_old(folder, made)
    typer.echo(f"{made} is version {number} of {name}.")


def _remove_old(folder: Path, made: Path) -> None:
    """Removes all exports but the newest few: a server may still read the one before."""
    exports = sorted(folder.glob("v*"), key=lambda each: each.stat().st_mtime)
    for each in [each for each in exports if each != made][: -(_KEPT - 1)]:
        shutil.rmtree(each, ignore_errors=True)


def _options(env: str, overrides: list[str], conf_dir: Path | None) -> list[str]:
    listed = ["--env", env]
    for each in overrides:
        listed += ["--set", each]
    return listed + ([] if conf_dir is None else ["--conf-dir", str(conf_dir)])
