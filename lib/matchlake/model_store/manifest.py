"""The manifest of a saved model: what lies in its folder, checked before anything is read.

A model folder holds `users/*.parquet`, `items/*.parquet`, for Matchbox `posterior/*`, and
`manifest.json`, which is written last: a folder without it was never finished.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from matchlake.errors import ModelError
from matchlake.params import Params
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.matchbox.params import MatchboxParams

FORMAT_VERSION = 2
"""Version of the layout that this code writes; it reads this one and all before it."""

MANIFEST = "manifest.json"

Side = Literal["user", "item"]


class SavedFile(Params):
    """A file as it was written."""

    bytes: int
    sha256: str


class Manifest(Params):
    """What a model folder holds."""

    format_version: int = FORMAT_VERSION
    written_by: str = Field(default_factory=lambda: f"matchlake {version('matchlake')}")
    kind: Literal["als", "matchbox"] = "als"
    """The fit that made the model."""
    params: AlsParams
    """Those of the fit, or of what stands for it as one factor model."""
    matchbox: MatchboxParams | None = None
    """Those of a Matchbox fit; format 2 added them, and the folder `posterior`."""
    mean: float
    users: int
    """Number of trained users; their indices are 0 to `users - 1`."""
    items: int
    files: dict[str, SavedFile]
    """By path within the folder."""

    def count(self, side: Side) -> int:
        """Number of rows of a side."""
        return self.users if side == "user" else self.items

    def paths(self, folder: Path, side: Side) -> list[Path]:
        """The files of a side, in a fixed order."""
        return [folder / name for name in sorted(self.files) if name.startswith(f"{side}s/")]


def describe(path: Path) -> SavedFile:
    """Size and digest of a file, read once."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SavedFile(bytes=path.stat().st_size, sha256=digest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, which makes the folder a model."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest, after every file has been found as it was written; raises ModelError."""
    data = _read(folder / MANIFEST)
    _check_format(folder, data)
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_input=False))
        raise ModelError(
            f"{folder / MANIFEST} is not as it was written ({keys}). {_AGAIN}"
        ) from None
    for name, saved in manifest.files.items():
        _check_file(folder, name, saved)
    return manifest


_AGAIN = "Fetch the model again from where it was registered, or train and save it again."


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} holds no model: there is no {MANIFEST}, so it is another folder, or "
            f"one whose saving was interrupted. {_AGAIN}"
        ) from None
    except ValueError:
        raise ModelError(f"{path} is cut short or damaged. {_AGAIN}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is no model's manifest. {_AGAIN}")
    return data


def _check_format(folder: Path, data: dict[str, Any]) -> None:
    found = data.get("format_version")
    if not isinstance(found, int) or found < 1:
        raise ModelError(f"{folder / MANIFEST} states no format version. {_AGAIN}")
    if found > FORMAT_VERSION:
        raise ModelError(
            f"{folder} was written by {data.get('written_by', 'a newer matchlake')} in format "
            f"{found}; this matchlake reads formats up to {FORMAT_VERSION}. Upgrade matchlake."
        )


def _check_file(folder: Path, name: str, saved: SavedFile) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"{folder / MANIFEST} names {name!r}, which is not in its folder. {_AGAIN}"
        )
    if not path.is_file():
        raise ModelError(f"{path} is missing, the manifest names it. {_AGAIN}")
    size = path.stat().st_size
    if size != saved.bytes:
        raise ModelError(f"{path} has {size} bytes, written were {saved.bytes}. {_AGAIN}")
    if describe(path) != saved:
        raise ModelError(f"{path} is damaged: its SHA-256 is not the one written. {_AGAIN}")
