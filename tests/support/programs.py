"""Runs the product's own programs, and Spark's, as a user's shell would."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.jvm import QUICK_JVM
from tests.support.sources import ROOT

BIN = Path(sys.executable).parent
CONF = ["--conf-dir", str(ROOT / "conf")]
JOBS = ROOT / "jobs"
_WAIT = 800


def shell_environment(**more: str) -> dict[str, str]:
    """This process's environment with the virtual environment active, and `more`."""
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    ours = {"PATH": path, "SPARK_LOCAL_IP": "127.0.0.1", "JDK_JAVA_OPTIONS": QUICK_JVM}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_")}
    return {**kept, **ours, **more}


def run_program(
    *command: str, cwd: Path, text: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program of the environment to its end, with `text` as its input."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env=environment or shell_environment(),
        input=text or "",
        capture_output=True,
        text=True,
        timeout=_WAIT,
        check=False,
    )


@contextmanager
def running_program(
    command: Sequence[str], cwd: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the environment that runs while the block does, its output going to `log`.

    It is ended after the block, also one that does not end by itself.
    """
    with log.open("wb") as out:
        program = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=cwd,
            env=shell_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(30)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait(10)
