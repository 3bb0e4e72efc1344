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
    """Downloads the wheels of requirements.txt, with their dependencies, into `wheels`.

    The wheels are for this Python version and platform. `pip` is the command; default: pip of this
    Python, else pip on the path. Raises ModelError if pip or a wheel is missing.
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
        raise ModelError(f"pip could not download the wheels within {_SECONDS} seconds.") from None
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
