"""Loads a served model from its export, a file or a folder, and verifies it."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from matchlake.errors import ModelError
from matchlake.model_store.served_signature import (
    SIGNATURE,
    RecommenderSignature,
    ScoringSignature,
)
from matchlake.model_store.verified import Verified
from matchlake.model_store.verified_lists import KEY as LISTS
from matchlake.model_store.verified_lists import VerifiedLists
from matchlake.params import first_problem
from matchlake.serve.fold_in import ItemFactors
from matchlake.serve.recommender import RecommenderServer
from matchlake.serve.scoring import ScoringServer
from matchlake.serve.session import Session

Served = ScoringServer | RecommenderServer

ROWS = "matchlake.verified"
"""The key of a graph's metadata with its held-out rows."""
_GRAPH, _FILES, _VERIFIED = "model.onnx", "files.json", "verified.json"
_FACTORS, _BIAS, _ITEMS = "item_factors.npy", "item_bias.npy", "item_ids.json"
_AGAIN = "Export the model again."
_LARGEST = 4_000_000_000
_CACHES = "__pycache__"


class Files(NamedTuple):
    """The bytes of an export, read once, so that the verified bytes are served."""

    graph: bytes
    verified: str | None
    """The comparison, if it is a separate file."""
    others: Mapping[str, bytes]


def load_served(path: Path) -> Served:
    """Loads the model of an export, after it reproduced the outputs inside the export.

    Raises ModelError for other files, exports of a newer release, and changed exports.
    """
    files = _folder(path) if path.is_dir() else Files(_bytes(path), None, {})
    session = Session(files.graph, str(path))
    text = session.metadata.get(SIGNATURE)
    if text is None:
        raise ModelError(
            f"{path} has no signature: it was written by another program, or by an earlier release "
            f"of matchlake. {_AGAIN}"
        )
    try:
        signature = _signature(path, text)
        if isinstance(signature, ScoringSignature):
            return _scoring(session, signature, files, path)
        return _recommender(session, signature, files, path)
    except ValidationError as error:
        raise ModelError(f"{path} is damaged ({first_problem(error)}). {_AGAIN}") from None


def _signature(path: Path, text: str) -> ScoringSignature | RecommenderSignature:
    try:
        data = json.loads(text)
        found = data["kind"], data["schema_version"]
    except (ValueError, TypeError, KeyError):
        raise ModelError(f"The signature of {path} is damaged. {_AGAIN}") from None
    if found[1] != 1:
        raise ModelError(
            f"{path} has a signature of version {found[1]!r}; this matchlake reads version 1. "
            "Upgrade matchlake."
        )
    if found[0] == "scoring":
        return ScoringSignature.model_validate(data)
    return RecommenderSignature.model_validate(data)


def _scoring(session: Session, signature: ScoringSignature, files: Files, path: Path) -> Served:
    text = files.verified or session.metadata.get(ROWS)
    if text is None:
        raise ModelError(f"{path} has no comparison, so it is not an export. {_AGAIN}")
    verified = Verified.model_validate_json(text)
    served = ScoringServer(session, signature, verified.model_version or verified.sha256[:12])
    if files.verified is None:
        served.verify_graph(verified)
    else:
        served.verify(verified)
    return served


def _recommender(
    session: Session, signature: RecommenderSignature, files: Files, path: Path
) -> Served:
    text = session.metadata.get(LISTS)
    if text is None:
        raise ModelError(f"{path} has no lists to compare, so it is not an export. {_AGAIN}")
    verified = VerifiedLists.model_validate_json(text)
    version = verified.model_version or verified.sha256[:12]
    factors, items = _items(signature, files.others, path)
    served = RecommenderServer(session, signature, version, factors, items)
    served.verify(verified)
    return served


def _items(
    signature: RecommenderSignature, files: Mapping[str, bytes], path: Path
) -> tuple[ItemFactors | None, list[str]]:
    if _FACTORS not in files:
        return None, []
    factors, bias = (_array(files[name], path) for name in (_FACTORS, _BIAS))
    items = json.loads(files[_ITEMS])
    if not len(factors) == len(bias) == len(items) == signature.items:
        raise ModelError(f"The factors of {path} have other items than its graph. {_AGAIN}")
    return ItemFactors(factors, bias, signature.fold_in), items


def _array(data: bytes, path: Path) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError:
        raise ModelError(f"The factors of {path} are damaged. {_AGAIN}") from None


def _folder(path: Path) -> Files:
    """Reads the files of an exported folder; raises ModelError if a digest differs."""
    if (path / _FILES).is_file():
        return _recommender_folder(path)
    if not (path / _VERIFIED).is_file():
        raise ModelError(
            f"{path} is not an export: it has neither {_VERIFIED} nor {_FILES}. Write one by "
            "`matchlake models export`."
        )
    text = _bytes(path / _VERIFIED).decode("utf-8", "replace")
    graphs = sorted(path.rglob(_GRAPH))
    if not graphs:
        raise ModelError(f"{path} has no {_GRAPH}: an earlier release wrote it. {_AGAIN}")
    lines, graph = [], b""
    for each in sorted(file for file in path.rglob("*") if file.is_file()):
        if each.name == _VERIFIED or _CACHES in each.parts:
            continue
        content = _bytes(each)
        graph = content if each == graphs[0] else graph
        name = each.relative_to(path).as_posix()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    if hashlib.sha256("".join(lines).encode()).hexdigest() != json_value(text, "sha256"):
        raise _changed(path)
    return Files(graph, text, {})


def _recommender_folder(path: Path) -> Files:
    try:
        digests = json.loads(_bytes(path / _FILES))
        names = {str(name): str(digest) for name, digest in digests.items()}
    except (ValueError, AttributeError):
        raise ModelError(f"{path / _FILES} is damaged. {_AGAIN}") from None
    known = (_GRAPH, _FACTORS, _BIAS, _ITEMS)
    content = {name: _bytes(path / name) for name in known if name in names}
    found = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    if found != names or _GRAPH not in content:
        raise _changed(path)
    return Files(content.pop(_GRAPH), None, content)


def _changed(path: Path) -> ModelError:
    return ModelError(f"{path} was changed after its export: its digests differ. {_AGAIN}")


def json_value(text: str, key: str) -> Any:
    """Returns a value of a JSON object; None for other strings."""
    try:
        return json.loads(text).get(key)
    except (ValueError, AttributeError):
        return None


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path} has more than {_LARGEST} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
