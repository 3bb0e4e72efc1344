"""Fitted states as JSON files, for those who want them without a table."""

import os
from pathlib import Path

from matchlake.errors import TableError


def save_state(folder: str, name: str, version: int, text: str) -> Path:
    """Writes `folder/name/version.json`, whole or not at all; a folder or a mounted volume."""
    path = Path(folder) / name / f"{version}.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise TableError(f"{path} cannot be written: {error.strerror}.") from None
    return path
