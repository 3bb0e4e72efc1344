"""Builds what the jobs of the bundle install, below dist/: `python -m ... FOLDER`.

The wheel, and a requirements file with the locked packages and the wheel itself, each with its
hash. So pip installs nothing else at the start of a cluster. FOLDER is the bundle's folder in the
workspace, where pip finds the wheel. An SBOM in the format of CycloneDX lists the packages.

In a project of `matchlake init`, which has no pyproject.toml, the wheel is the installed version of
this package: that in the folder `wheels`, or else the released one.

Standard library only: it runs before anything is installed. The build tools have hashes, too.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from matchlake.dev.bundle.locks import Locked, locked_packages

LOCK = "requirements-job.lock"
"""The lock of the packages that a job needs and its runtime may lack."""
REQUIREMENTS = "dist/requirements.txt"
"""The requirements file that jobs install."""
SBOM = "dist/sbom.cdx.json"
_TOOLS = "requirements-build.lock"


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the artifacts of the project in the working folder; the exit code."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    root = Path.cwd()
    wheel = build_wheel(root) if (root / "pyproject.toml").is_file() else released_wheel(root)
    lock = (root / LOCK).read_text(encoding="utf-8")
    (root / REQUIREMENTS).write_text(f"{lock}{wheel_line(wheel, folder)}\n", encoding="utf-8")
    sbom = software_bill(wheel.name.split("-")[1], list(locked_packages(root / LOCK)))
    (root / SBOM).write_text(f"{json.dumps(sbom, indent=2)}\n", encoding="utf-8")
    return 0


def build_wheel(root: Path) -> Path:
    """Builds the wheel with locked build tools; wheels of other versions are removed."""
    for old in (root / "dist").glob("*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = partial(_pip, root, Path(folder))
        pip("install", "--require-hashes", "-r", _TOOLS)
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", ".")
    (wheel,) = (root / "dist").glob("*.whl")
    return wheel


def released_wheel(root: Path) -> Path:
    """The wheel of the installed version in dist/: a copy of that in `wheels`, or downloaded."""
    (root / "dist").mkdir(exist_ok=True)
    for old in (root / "dist").glob("*.whl"):
        old.unlink()
    number = metadata.version("matchlake")
    own = sorted((root / "wheels").glob(f"matchlake-{number}-*.whl"))
    if own:
        return Path(shutil.copy(own[0], root / "dist"))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", "dist", f"matchlake=={number}", "--quiet"]
    done = subprocess.run(command, cwd=root, check=False)  # noqa: S603 - the pip of this Python
    found = list((root / "dist").glob("*.whl"))
    if done.returncode or not found:
        sys.exit(
            f"error: pip found no wheel of matchlake {number}: put it into {root / 'wheels'}, "
            "or name a package index that has it."
        )
    return found[0]


def wheel_line(wheel: Path, folder: str) -> str:
    """The requirement of the wheel, at its place in the workspace and with its hash."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{folder}/dist/{wheel.name} --hash=sha256:{digest}"


def software_bill(version: str, packages: Sequence[Locked]) -> dict[str, Any]:
    """The SBOM of this version and its packages; the same input gives the same text."""
    component = {"type": "application", "name": "matchlake", "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**component, "bom-ref": "matchlake"}},
        "components": [
            {
                "type": "library",
                "name": each.name,
                "version": each.version,
                "purl": each.purl,
                "bom-ref": each.purl,
            }
            for each in packages
        ],
    }


def _pip(root: Path, environment: Path, *arguments: str) -> None:
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [str(python), "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, cwd=root, check=True)  # noqa: S603 - the pip of this Python


if __name__ == "__main__":
    sys.exit(main())
