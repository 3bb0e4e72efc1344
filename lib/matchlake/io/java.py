"""Finds a Java for Spark and Kafka, or raises a clear error."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from matchlake.errors import SandboxError

OLDEST_JAVA = 17


def find_java() -> str | None:
    """The `java` that Spark would use: of JAVA_HOME if set, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home:
        return shutil.which("java", path=str(Path(home) / "bin"))
    return shutil.which("java")


def java_version(java: str) -> int:
    """The major version of `java`; 8 for the old form `1.8`, 0 if it cannot be read."""
    match = re.search(r'version "(?:1\.)?(\d+)', _ask(java, "-version"))
    return int(match.group(1)) if match else 0


def lacks_vector_module(java: str) -> bool:
    """Whether `java` lacks jdk.incubator.vector, which pyspark needs to start a JVM."""
    return "jdk.incubator.vector" not in _ask(java, "--list-modules")


def _ask(java: str, question: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a program that was just looked up, no shell
            [java, question], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return done.stderr + done.stdout


def require_java() -> str:
    """The path of a Java of at least OLDEST_JAVA; raises SandboxError without one."""
    java = find_java()
    if java is None:
        where = os.environ.get("JAVA_HOME")
        raise SandboxError(
            f"No Java was found {f'in JAVA_HOME={where}' if where else 'on PATH'}: "
            f"install Java {OLDEST_JAVA} or newer (a JDK or a full JRE), "
            "or set JAVA_HOME to its folder."
        )
    version = java_version(java)
    if version < OLDEST_JAVA:
        raise SandboxError(
            f"{java} is Java {version or 'of an unknown version'}, and Spark 4 needs "
            f"Java {OLDEST_JAVA} or newer: install it, or set JAVA_HOME to its folder."
        )
    return java
