"""The packages of an exported folder as wheels, so that it installs without a network."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from matchlake.errors import ModelError

WHEELS, REQUIREMENTS = "wheels", "requirements.txt"
INSTALL = f"pip install --no-index --find-links {WHEELS} -r {REQUIREMENTS}"
"""The command that installs the packages, in the folder."""
_SECONDS = 1800


def write_wheels(folder: Path, pip: Sequence[str] = ()) -> None:
    """Downloads the wheels of requirements.txt, and of what these need, into `wheels`.

    They fit this Python and this kind of machine. `pip` is the command; default: the pip of this
    Python, else the one on the path. Raises ModelError without pip, and if a wheel is not found.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [*(pip or _pip()), "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--python-version", version]
    command += ["--dest", str(folder / WHEELS), "-r", str(folder / REQUIREMENTS)]
    try:
        done = subprocess.run(  # noqa: S603 - pip, and the folder that was just written
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"pip did not download the wheels within {_SECONDS} seconds.") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ModelError(f"pip found no wheels for {REQUIREMENTS}: {last}")


def _pip() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise ModelError("Wheels need pip. Install it: python -m ensurepip.")
    return [found]
