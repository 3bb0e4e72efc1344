"""The files of this product that a new project gets: jobs, the bundle, environments, notebooks."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from matchlake.errors import SandboxError

_ROOT = "share/matchlake/project"
_MARK = "databricks.yml"


def shipped_files() -> Path:
    """The folder of these files: of a clone, or of the installed wheel; raises SandboxError."""
    clone = Path(__file__).parents[4]
    if (clone / _MARK).is_file() and (clone / "jobs").is_dir():
        return clone
    try:
        files = distribution("matchlake").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix().endswith(f"{_ROOT}/{_MARK}") and Path(str(file.locate())).is_file():
            return Path(str(file.locate())).resolve().parent
    raise SandboxError(
        f"The installed matchlake has no folder {_ROOT}: install its wheel again, "
        "for example with pip install --force-reinstall --no-deps matchlake."
    )
