"""The folder of compiled kernels: numba loads code from it, so only its owner may write to it."""

import os
import stat
from pathlib import Path

from matchlake.errors import ConfigError

VARIABLE = "NUMBA_CACHE_DIR"
"""The variable of the environment that names the folder; numba reads it."""


def cache_folder() -> Path | None:
    """The folder that the environment names; None if kernels are cached beside their source."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


def require_private_cache() -> None:
    """Raises ConfigError if others can write to the folder that the environment names."""
    folder = cache_folder()
    problem = shared_with(folder) if folder else None
    if problem:
        raise ConfigError(
            f"{VARIABLE} is {folder}, but {problem}. Compiled kernels are loaded from it, so "
            "others could run code in this job. Choose a folder of your own that only you can "
            f"write to, or unset {VARIABLE}."
        )


def shared_with(folder: Path) -> str | None:
    """Who else can write to a folder; None if nobody can, or if there is no such folder yet."""
    try:
        info = folder.stat()
    except OSError:
        return None
    if not hasattr(os, "getuid"):  # Windows has access lists instead
        return None
    if info.st_uid != os.getuid():
        return f"it belongs to user {info.st_uid}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to it (mode {stat.S_IMODE(info.st_mode):o})"
    return None
