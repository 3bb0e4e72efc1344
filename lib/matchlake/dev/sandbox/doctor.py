"""Checks this machine for what the sandbox needs; every check gives an answer."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from matchlake.dev.sandbox.broker import broker_status
from matchlake.dev.sandbox.jars import (
    broker_folder,
    connectors_lock,
    missing_jars,
    read_lock,
    spark_jars_folder,
)
from matchlake.dev.sandbox.movielens import bundled_movielens
from matchlake.errors import MatchlakeError
from matchlake.io.java import java_version, lacks_vector_module, require_java
from matchlake.io.kernel_cache import VARIABLE, cache_folder, shared_with
from matchlake.io.ports import is_port_free, port_owner

_GIB = 2**30
_OLDEST_PYTHON = (3, 11)
_MIN_DISK = 2 * _GIB
_MIN_MEMORY = 4 * _GIB
_MIN_CORES = 2


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    """False if the demo would fail, or be very slow."""
    found: str
    todo: str = ""
    """What to do if it is not ok; what may be done if it is."""


def checks(root: Path) -> list[Check]:
    """Checks machine and environment for a sandbox in `root`; leaves no change."""
    return [_answer(name, check, root) for name, check in _CHECKS.items()]


Finding = tuple[bool, str] | tuple[bool, str, str]


def _answer(name: str, check: Callable[[Path], Finding], root: Path) -> Check:
    try:
        return Check(name, *check(root))
    except MatchlakeError as error:
        return Check(name, ok=False, found="not usable", todo=str(error))
    except OSError as error:
        return Check(name, ok=False, found=f"not known: {error}")


def _python(_: Path) -> Finding:
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    ok = sys.version_info >= _OLDEST_PYTHON
    return ok, found, "" if ok else "Use Python 3.11 or newer."


def _java(_: Path) -> Finding:
    java = require_java()
    found = f"{java_version(java)} at {java}"
    if lacks_vector_module(java):
        return False, found, "Modules are missing: install a full JRE or JDK; Spark needs it."
    return True, found


def _package(name: str) -> Callable[[Path], Finding]:
    def check(_: Path) -> Finding:
        try:
            return True, version(name)
        except PackageNotFoundError:
            return False, "not installed", "Run `make install`."

    return check


def _jars(lock: str, folder: Callable[[], Path]) -> Callable[[Path], Finding]:
    def check(_: Path) -> Finding:
        path, total = folder(), len(read_lock(lock))
        missing = missing_jars(lock, path)
        found = f"{total - len(missing)} of {total} in {path}"
        return not missing, found, "Run `make install` with network." if missing else ""

    return check


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _folder(root: Path) -> Finding:
    path = _existing(root)
    try:
        with tempfile.TemporaryFile(dir=path):
            return True, f"{root.resolve()} can be written"
    except OSError as error:
        return (
            False,
            f"{path}: {error.strerror}",
            "Change permissions, or give another --root.",
        )


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(_existing(root)).free
    return _enough(free, _MIN_DISK, "free", "Free some, or give a --root on another disk.")


def _memory(_: Path) -> Finding:
    total = psutil.virtual_memory().total
    return _enough(total, _MIN_MEMORY, "in all", "Broker and Spark together need that much.")


def _enough(amount: int, minimum: int, label: str, todo: str) -> Finding:
    ok = amount >= minimum
    found = f"{amount / _GIB:.1f} GiB {label}"
    return ok, found, "" if ok else f"{minimum // _GIB} GiB are needed. {todo}"


def _cores(_: Path) -> Finding:
    count = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 0
    count = count or os.cpu_count() or 1
    ok = count >= _MIN_CORES
    return ok, str(count), "" if ok else f"{_MIN_CORES} are needed for times as in the README."


def _broker(root: Path) -> Finding:
    state = broker_status(root)
    if state.phase == "running":
        return True, f"runs on {state.bootstrap} as process {state.pid}"
    found = {
        "absent": "never started here",
        "stopped": "stopped, its data kept",
        "crashed": "ended without being stopped, its data kept",
    }[state.phase]
    return True, found, "Start it with `matchlake sandbox start`; the demo does so itself."


def _ports(root: Path) -> Finding:
    state = broker_status(root)
    if state.phase == "running":
        return True, f"{state.port} and {state.controller_port}, the broker's own"
    taken = [p for p in (state.port, state.controller_port) if p and not is_port_free(p)]
    if taken:
        found = f"{taken[0]} is now taken by {port_owner(taken[0])}"
        return True, found, "Another free one will be chosen."
    return True, "free ones are chosen at start" if not state.port else f"{state.port} is free"


def _kernel_cache(_: Path) -> Finding:
    spec = find_spec("matchlake.recommender")
    default = Path(spec.origin).parent if spec and spec.origin else Path.cwd()
    path = cache_folder() or default
    shared = shared_with(path) if cache_folder() else None
    if shared:
        todo = f"Set {VARIABLE} to a folder that only you can write to."
        return False, f"{path}: {shared}", todo
    if os.access(_existing(path), os.W_OK):
        return True, str(path)
    todo = f"Set {VARIABLE} to a folder that can be, or kernels are compiled at every start."
    return True, f"{path} cannot be written", todo


def _data_set(_: Path) -> Finding:
    return True, f"MovieLens-100K in {bundled_movielens().folder}"


def _connectors(root: Path) -> Finding:
    return _jars(connectors_lock(), spark_jars_folder)(root)


_CHECKS: dict[str, Callable[[Path], Finding]] = {
    "Python": _python,
    "Java": _java,
    "pyspark": _package("pyspark"),
    "delta-spark": _package("delta-spark"),
    "mlflow": _package("mlflow"),
    "connector jars": _connectors,
    "broker jars": _jars("broker", broker_folder),
    "folder": _folder,
    "disk": _disk,
    "memory": _memory,
    "cores": _cores,
    "broker": _broker,
    "ports": _ports,
    "kernel cache": _kernel_cache,
    "data set": _data_set,
}
