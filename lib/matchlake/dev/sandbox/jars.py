"""Installs the locked jars once, at install time: nothing is resolved at run time.

`connectors.lock` lists the jars that Spark needs and pyspark lacks. They go to `pyspark/jars`, so
that spark-submit, the Thrift server and every shell find them. `broker.lock` lists the jars of the
sandbox's Kafka broker, which have their own folder. Ivy, a part of pyspark, fetches the jars; each
must have the sha256 of its lock line.

Standard library only: it runs before the rest of the product is installed.
"""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from matchlake.errors import SandboxError
from matchlake.io.java import require_java

_HERE = Path(__file__).parent
# No local Maven resolver: Ivy stops at a POM there without its jar.
_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <timeout-constraints>
    <timeout-constraint name="patient" connectionTimeout="15000" readTimeout="60000"/>
  </timeout-constraints>
  <caches defaultCacheDir="{cache}"/>
  <resolvers>
    <ibiblio name="central" m2compatible="true" timeoutConstraint="patient"/>
  </resolvers>
</ivysettings>"""
_LOOK_SECONDS = 0.2
_CAUSE = re.compile(r"Host \S+ not found|java\.[\w.]+Exception[^)]*")
_DEPENDENCY = (
    '<dependency org="{0.group}" name="{0.name}" rev="{0.version}"'
    ' transitive="false" conf="default->master"/>'
)
_MODULE = """<ivy-module version="2.0"><info organisation="matchlake" module="sandbox"/>
<dependencies>{dependencies}</dependencies></ivy-module>"""


class Jar(NamedTuple):
    """One line of a lock file."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file name of the jar."""
        return f"{self.name}-{self.version}.jar"


def read_lock(name: str) -> list[Jar]:
    """The jars of `connectors` or `broker`, in the order of the lock file."""
    jars = []
    for line in (_HERE / f"{name}.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinates, digest = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, digest.removeprefix("sha256:")))
    return jars


def spark_jars_folder() -> Path:
    """`pyspark/jars` of this environment; raises SandboxError where pyspark is not installed."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SandboxError(
            "pyspark is not installed in this environment. "
            "Run `make install` in the project; elsewhere `pip install 'matchlake[spark]'`."
        )
    return Path(spec.origin).parent / "jars"


def connectors_lock() -> str:
    """The name of the lock for this version of Spark; an older version has its own lock."""
    spark_jars_folder()  # raises the error if Spark is not installed
    minor = ".".join(version("pyspark").split(".")[:2])
    own = f"connectors-{minor}"
    return own if (_HERE / f"{own}.lock").is_file() else "connectors"


def broker_folder() -> Path:
    """Where this environment keeps the jars of the sandbox's broker."""
    return Path(sys.prefix) / "share" / "matchlake" / "broker"


def missing_jars(lock: str, folder: Path) -> list[Jar]:
    """The locked jars that `folder` lacks, by name; contents are checked at installation."""
    return [jar for jar in read_lock(lock) if not (folder / jar.file_name).is_file()]


def install_jars(lock: str, folder: Path) -> int:
    """Fetches the jars of `lock` that `folder` lacks. Returns their number. Raises SandboxError."""
    missing = missing_jars(lock, folder)
    if not missing:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    # Fetches one jar first: without a network there is one time-out instead of one per jar.
    for jars in filter(None, (missing[:1], missing[1:])):
        _install(jars, folder)
    return len(missing)


def _install(jars: list[Jar], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="matchlake-ivy-") as scratch:
        fetched = fetch_jars(jars, Path(scratch))
        for jar in jars:
            _check(jar, fetched / jar.file_name)
            staged = folder / f".{jar.file_name}.{os.getpid()}.partial"
            staged.write_bytes((fetched / jar.file_name).read_bytes())
            staged.replace(folder / jar.file_name)


def fetch_jars(jars: list[Jar], scratch: Path) -> Path:
    """Fetches jars without a check. Returns their folder below `scratch`. Raises SandboxError."""
    settings, module, out = scratch / "settings.xml", scratch / "ivy.xml", scratch / "jars"
    settings.write_text(_SETTINGS.format(cache=scratch / "cache"), encoding="utf-8")
    dependencies = "".join(_DEPENDENCY.format(jar) for jar in jars)
    module.write_text(_MODULE.format(dependencies=dependencies), encoding="utf-8")
    ivy = next(spark_jars_folder().glob("ivy-*.jar"))
    command: list[str | Path] = [require_java(), "-jar", ivy, "-settings", settings, "-ivy", module]
    command += ["-confs", "default", "-retrieve", out / "[artifact]-[revision].[ext]"]
    code, output = _run_watched([os.fspath(part) for part in command], scratch, len(jars))
    absent = [jar.file_name for jar in jars if not (out / jar.file_name).is_file()]
    if code or absent:
        raise SandboxError(
            f"{', '.join(absent[:3]) or 'A jar'} could not be fetched from Maven Central "
            f"({_cause(output)}): the first install needs the network; behind "
            "a proxy set JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT; "
            "then run `make install` again."
        )
    return out


def _run_watched(command: list[str], scratch: Path, total: int) -> tuple[int, str]:
    """Runs Ivy; on a terminal shows how many jars have come. Returns exit code and output."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as ivy:  # noqa: S603 - our own arguments, no shell
            began = time.monotonic()
            try:
                while ivy.poll() is None:
                    time.sleep(_LOOK_SECONDS)
                    _show(len(list((scratch / "cache").rglob("*.jar"))), total, began)
            except BaseException:
                ivy.kill()
                raise
        _show(total, total, began, end="\n")
        output.seek(0)
        return ivy.returncode, output.read()


def _show(done: int, total: int, began: float, end: str = "") -> None:
    if sys.stderr.isatty():
        took = time.monotonic() - began
        text = f"\rjars from Maven Central: {min(done, total)} of {total}, {took:.0f} s{end}"
        print(text, end="", file=sys.stderr, flush=True)  # noqa: T201


def _cause(output: str) -> str:
    match = _CAUSE.search(output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return match.group() if match else (lines or ["no output of Ivy"])[-1]


def _check(jar: Jar, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != jar.sha256:
        raise SandboxError(
            f"{jar.file_name} has sha256 {digest}, its lock says {jar.sha256}: not installed. "
            "Either the download was altered, or the lock is out of date."
        )


def install_all() -> dict[str, int]:
    """Installs connectors and broker. Returns the number of new jars of each."""
    return {
        "connectors": install_jars(connectors_lock(), spark_jars_folder()),
        "broker": install_jars("broker", broker_folder()),
    }


if __name__ == "__main__":
    try:
        counts = install_all()
    except SandboxError as error:
        sys.exit(f"error: {error}")
    print(", ".join(f"{name}: {count} jars added" for name, count in counts.items()))  # noqa: T201
