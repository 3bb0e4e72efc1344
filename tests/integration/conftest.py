"""A real broker, shared by all integration tests of a session."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from matchlake.dev.sandbox.broker import start_broker

# Stops the broker when its standard input ends: when the session closes it, and also when the
# session is killed, so that no broker outlives its tests.
_STOPPER = """
import sys
from pathlib import Path
from matchlake.dev.sandbox.broker import stop_broker
sys.stdin.read()
stop_broker(Path(sys.argv[1]))
"""


@contextmanager
def stopped_at_the_end(root: Path) -> Iterator[Path]:
    """Within it a broker may run in `root`; after it none does, even if this process is killed."""
    command = [sys.executable, "-c", _STOPPER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as stopper:
        yield root
    assert stopper.returncode == 0


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker of the session's own, `host:port`; give topics names of your own."""
    with stopped_at_the_end(tmp_path_factory.mktemp("sandbox")) as root:
        yield start_broker(root, heap="512m").bootstrap


@pytest.fixture
def broker_root(tmp_path: Path) -> Iterator[Path]:
    """A sandbox root of one test's own, in which it may start, stop and kill a broker."""
    with stopped_at_the_end(tmp_path / "lake") as root:
        yield root
