"""The locked packages and jars of a project, as its lock files name them.

Standard library only: the build of the bundle runs before anything is installed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_JAR = re.compile(r"^([\w.-]+:[\w.-]+):(\S+) sha256:[0-9a-f]{64}$", re.MULTILINE)
_HASH = "--hash=sha256:"


class Locked(NamedTuple):
    """One locked package or jar."""

    ecosystem: str
    """`PyPI` or `Maven`."""
    name: str
    """The name of a package, or the group and artifact of a jar."""
    version: str
    hashed: bool

    @property
    def purl(self) -> str:
        """The package URL, by which registers of vulnerabilities know it."""
        name = self.name.replace(":", "/") if self.ecosystem == "Maven" else canonical(self.name)
        return f"pkg:{self.ecosystem.lower()}/{name}@{self.version}"


def locked_packages(lock: Path) -> Iterator[Locked]:
    """The packages of a requirements lock; a package with markers may be there in two versions."""
    text = lock.read_text(encoding="utf-8")
    starts = list(_PACKAGE.finditer(text))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        lines = text[start.start() : following.start() if following else None]
        yield Locked("PyPI", start[1], start[2], _HASH in lines)


def locked_jars(lock: Path) -> Iterator[Locked]:
    """The jars of a jar lock; each has a hash."""
    for match in _JAR.finditer(lock.read_text(encoding="utf-8")):
        yield Locked("Maven", match[1], match[2], hashed=True)


def canonical(name: str) -> str:
    """The name of a package in the form by which indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
