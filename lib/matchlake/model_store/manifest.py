"""The manifest of a saved model: lists the files of its folder, to verify them before use.

A model folder holds `users/*.parquet`, `items/*.parquet`, further tables (`NAME.parquet`), files,
and `manifest.json`. The manifest is written last: a folder without it is incomplete.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from matchlake.errors import ModelError
from matchlake.params import Params
from matchlake.recommender.algorithms import ALGORITHMS
from matchlake.recommender.fit_params import FitParams

FORMAT_VERSION = 3
"""The version of the folder layout that this code writes and reads."""

MANIFEST = "manifest.json"

Side = Literal["user", "item"]


class SavedFile(Params):
    """A file of the model, with its size and digest when it was written."""

    bytes: int
    sha256: str


class Manifest(Params):
    """The contents of a model folder."""

    format_version: int = FORMAT_VERSION
    written_by: str = Field(default_factory=lambda: f"matchlake {version('matchlake')}")
    algorithm: str
    """The name of the algorithm in the registry."""
    params: dict[str, Any]
    """The parameters of the fit."""
    values: dict[str, float] = Field(default_factory=dict)
    """Scalars of the model, such as the mean."""
    users: int
    """Number of users; their indices are 0 to `users - 1`."""
    items: int
    tables: tuple[str, ...] = ()
    """Further tables, each in one file."""
    extras: tuple[str, ...] = ()
    """Further files."""
    files: dict[str, SavedFile]
    """All files, by path within the folder."""

    def count(self, side: Side) -> int:
        """Number of rows of a side."""
        return self.users if side == "user" else self.items

    def paths(self, folder: Path, side: Side) -> list[Path]:
        """The files of a side, in a fixed order."""
        return [folder / name for name in sorted(self.files) if name.startswith(f"{side}s/")]

    def typed_params(self) -> FitParams:
        """Returns the parameters as an instance of the algorithm's class."""
        return ALGORITHMS[self.algorithm].params_class().model_validate(self.params)


def describe(path: Path) -> SavedFile:
    """Returns size and digest of a file, in one read."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SavedFile(bytes=path.stat().st_size, sha256=digest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, which completes the folder."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Verifies every file, and returns the manifest; raises ModelError for damaged files."""
    data = _read(folder / MANIFEST)
    _check_format(folder, data)
    try:
        manifest = Manifest.model_validate(data)
        if manifest.algorithm not in ALGORITHMS:
            raise ModelError(
                f"{folder / MANIFEST} names the algorithm {manifest.algorithm!r}; this matchlake "
                f"has {', '.join(ALGORITHMS)}. Upgrade matchlake."
            )
        manifest.typed_params()
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_input=False))
        raise ModelError(f"{folder / MANIFEST} is damaged ({keys}). {_AGAIN}") from None
    for name, saved in manifest.files.items():
        _check_file(folder, name, saved)
    return manifest


_AGAIN = "Fetch the model again from the registry, or train and save it again."


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} is not a complete model: it has no {MANIFEST}. Either it is not a "
            "model "
            f"folder, or saving the model was interrupted. {_AGAIN}"
        ) from None
    except ValueError:
        raise ModelError(f"{path} is incomplete or damaged. {_AGAIN}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not the manifest of a model. {_AGAIN}")
    return data


def _check_format(folder: Path, data: dict[str, Any]) -> None:
    format_version = data.get("format_version")
    if not isinstance(format_version, int) or format_version < 1:
        raise ModelError(f"{folder / MANIFEST} has no format version. {_AGAIN}")
    written_by = data.get("written_by", "another matchlake")
    if format_version > FORMAT_VERSION:
        raise ModelError(
            f"{folder} was written by {written_by} in format {format_version}; "
            f"this matchlake reads format {FORMAT_VERSION}. Upgrade matchlake."
        )
    if format_version < FORMAT_VERSION:
        raise ModelError(
            f"{folder} was written by {written_by} in format {format_version}; "
            f"this matchlake reads format {FORMAT_VERSION}. Train and save the model again."
        )


def _check_file(folder: Path, name: str, saved: SavedFile) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"{folder / MANIFEST} names {name!r}, which is outside the folder. {_AGAIN}"
        )
    if not path.is_file():
        raise ModelError(f"{path} is missing, but the manifest names it. {_AGAIN}")
    size = path.stat().st_size
    if size != saved.bytes:
        raise ModelError(f"{path} has {size} bytes; {saved.bytes} were written. {_AGAIN}")
    if describe(path) != saved:
        raise ModelError(f"{path} is damaged: its SHA-256 differs from the one written. {_AGAIN}")
