"""An MLflow folder as an export: MLmodel, conda.yaml, python_env.yaml, requirements.txt."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from matchlake.errors import ModelError
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.scoring_folder import (
    HELD_OUT_FILE,
    MODEL_FILE,
    scoring_flavor,
    write_graph,
)
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.model_store.verified import Verified, plain_outputs

VERIFIED_FILE = "verified.json"
_CACHES = ("__pycache__",)


def write_folder(
    path: Path, content: bytes, verified: Verified, add: Callable[[Path], None] | None = None
) -> None:
    """Writes the folder of the model with the JSON `content`; keeps an existing folder.

    `add` puts more files into a new folder, such as wheels.
    """
    if not path.exists():
        from mlflow import pyfunc  # noqa: PLC0415 - seconds to import

        with tempfile.TemporaryDirectory(prefix="matchlake-export-") as place:
            source = Path(place) / "scoring"
            source.mkdir()
            (source / MODEL_FILE).write_bytes(content)
            held_out = HeldOut(columns=verified.inputs)
            write_graph(ScoringModel.from_json(content.decode()), source)
            (source / HELD_OUT_FILE).write_text(held_out.model_dump_json(), encoding="utf-8")
            pyfunc.save_model(str(path), **scoring_flavor(source))
            if add is not None:
                add(path)
        verified = verified.model_copy(update={"sha256": _digest_of(_files(path))})
    (path / VERIFIED_FILE).write_text(verified.model_dump_json(), encoding="utf-8")


def read_folder(path: Path) -> tuple[bytes, Verified, Callable[[], Mapping[str, Any]]]:
    """Returns the digests of the files, the comparison, and a function that computes scores."""
    try:
        verified = Verified.model_validate_json((path / VERIFIED_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"{path} is not an export: it has no valid {VERIFIED_FILE}.") from None

    def score() -> Mapping[str, Any]:
        from mlflow import pyfunc  # noqa: PLC0415 - seconds to import

        text = next(path.rglob(MODEL_FILE)).read_text("utf-8")
        features = ScoringModel.from_json(text).features
        rows = HeldOut(columns=verified.inputs).typed(features)
        found = pyfunc.load_model(str(path)).predict(pd.DataFrame(rows))
        return plain_outputs({name: found[name].to_numpy(object) for name in found})

    return _files(path), verified, score


def _files(path: Path) -> bytes:
    """Returns the names and digests of all files, without the comparison and Python's caches."""
    found = sorted(
        each
        for each in path.rglob("*")
        if each.is_file() and each.name != VERIFIED_FILE and not set(_CACHES) & set(each.parts)
    )
    lines = []
    for each in found:
        with each.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {each.relative_to(path).as_posix()}\n")
    return "".join(lines).encode()


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
