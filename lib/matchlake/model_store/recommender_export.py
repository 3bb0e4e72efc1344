"""A recommender exported as ONNX, with the recommendation lists that verified it.

The export is first written to a temporary path, as `exports` does for other models. Another process
then computes the lists of the same users from it, and a list that differs is an error. Two
neighbours of a list may swap if their scores differ only by rounding.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from matchlake.errors import ModelError, ParameterError
from matchlake.model_store.manifest import read_manifest
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.onnx_metadata import with_entry, without_entry
from matchlake.model_store.onnx_session import onnx_runner
from matchlake.model_store.recommender_graph import EXCLUDE, ITEM, SCORE, USER, K, recommender_graph
from matchlake.model_store.seen_items import load_seen_items
from matchlake.model_store.served_recommender import (
    FILES_FILE,
    GRAPH_FILE,
    digests_of,
    item_arrays,
    recommender_signature,
)
from matchlake.model_store.served_signature import SIGNATURE
from matchlake.model_store.verified_lists import KEY, VerifiedLists, list_difference

_USERS, _LENGTH = 100, 20
_LARGEST = 2_000_000_000
_STRANGER = "\u2205 no user has this id"


class Exported(NamedTuple):
    """An exported recommender."""

    content: bytes
    """The graph without the lists."""
    verified: VerifiedLists


def write_recommender(folder: Path, path: Path, model_version: str | None = None) -> Path:
    """Writes an unverified export of a saved model to a temporary path, and returns that path.

    If `path` ends in .onnx, the export is only the graph. Otherwise it is a folder with the graph
    and, if the model has factors, the factors of the items: for similar items and for new users.
    Raises ParameterError for a model without a graph, and for a model that is too large for ONNX.
    """
    if path.suffix not in ("", ".onnx"):
        raise ParameterError(
            f"{path.name} must end in .onnx, or have no ending, for a folder: verify finds the "
            "format by the ending."
        )
    model, seen = load_numpy(folder), load_seen_items(folder)
    manifest = read_manifest(folder)
    ratings = manifest.typed_params().predicts_ratings
    signature = recommender_signature(model, manifest.algorithm, predicts_ratings=ratings)
    graph = with_entry(
        recommender_graph(model, seen), SIGNATURE, signature.model_dump_json(exclude_none=True)
    )
    if len(graph) > _LARGEST:
        raise ParameterError(
            f"The graph has {len(graph)} bytes, but ONNX allows {_LARGEST}: fit a smaller rank."
        )
    users = [*map(str, _spread(model.user_ids)), _STRANGER]
    lists = [_expected(model, seen, user, place) for user, place in _queries(model, users)]
    verified = VerifiedLists(
        sha256=hashlib.sha256(graph).hexdigest(),
        users=tuple(users),
        k=_LENGTH,
        items=tuple(tuple(str(item) for item, _ in each) for each in lists),
        scores=tuple(tuple(float(score) for _, score in each) for each in lists),
        model_version=model_version,
    )
    if path.suffix == ".onnx":
        partial = path.with_name(f".{path.name}.unverified.onnx")
        partial.write_bytes(with_lists(graph, verified))
        return partial
    partial = path.with_name(f".{path.name}.unverified")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (partial / GRAPH_FILE).write_bytes(with_lists(graph, verified))
    for name, content in item_arrays(model).items():
        (partial / name).write_bytes(content)
    _write_digests(partial)
    return partial


def _write_digests(folder: Path) -> None:
    (folder / FILES_FILE).write_text(json.dumps(digests_of(folder), indent=1), encoding="utf-8")


def finish_recommender(partial: Path, path: Path, difference: float) -> None:
    """Writes the largest difference into the export, and moves it to `path`."""
    exported = read_recommender(partial)
    if exported is None:
        raise ModelError(f"{partial} is not an exported recommender.")
    content, verified = exported
    figures = verified.model_copy(update={"largest_difference": difference})
    _graph_of(partial).write_bytes(with_lists(content, figures))
    if partial.is_dir():
        _write_digests(partial)
    if path.is_dir():
        shutil.rmtree(path)
    partial.replace(path)


def verify_recommender(path: Path, exported: Exported) -> tuple[VerifiedLists, float]:
    """Computes the lists of an export again.

    Returns its lists, and the largest difference of a score.

    Raises ModelError for a graph that was changed, or that gives other lists.
    """
    content, verified = exported
    if hashlib.sha256(content).hexdigest() != verified.sha256:
        raise ModelError(
            f"{path} was changed after its export: its SHA-256 differs from the one inside. Export "
            "the model again."
        )
    run, largest = onnx_runner(content), 0.0
    for user, *listed in zip(verified.users, verified.items, verified.scores, strict=True):
        inputs = {
            USER: np.array([user], dtype=object),
            EXCLUDE: np.array([], dtype=object),
            K: np.array([verified.k], np.int64),
        }
        found = run(inputs)
        pair = list(found[ITEM]), np.asarray(found[SCORE], float)
        largest = max(largest, list_difference(user, pair, tuple(listed), verified.tolerance))
    return verified, largest


def read_recommender(path: Path) -> Exported | None:
    """Reads the graph and its lists separately; None for any other file or folder.

    Raises ModelError if the lists are damaged, or a file of the folder was changed.
    """
    graph = _graph_of(path)
    if graph.suffix != ".onnx" or not graph.is_file():
        return None
    try:
        content, entry = without_entry(graph.read_bytes(), KEY)
    except ModelError:
        return None
    if entry is None:
        return None
    if path.is_dir() and _digests_in(path) != digests_of(path):
        raise ModelError(
            f"{path} was changed after its export: the digests in {FILES_FILE} differ. Export the "
            "model again."
        )
    try:
        verified = VerifiedLists.model_validate_json(entry)
    except ValueError:
        raise ModelError(f"The lists inside {path} are damaged. Export the model again.") from None
    return Exported(content, verified)


def _graph_of(path: Path) -> Path:
    return path / GRAPH_FILE if path.is_dir() else path


def _digests_in(folder: Path) -> Any:
    try:
        return json.loads((folder / FILES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def with_lists(content: bytes, verified: VerifiedLists) -> bytes:
    """Adds the lists to the metadata of the ONNX graph `content`."""
    return with_entry(content, KEY, verified.model_dump_json())


def _spread(ids: Any) -> list[Any]:
    """Returns up to _USERS ids, evenly spread from the first to the last."""
    places = np.unique(np.linspace(0, len(ids) - 1, _USERS).astype(int))
    return [ids[place] for place in places.tolist()]


def _queries(model: Any, users: list[str]) -> list[tuple[Any, int]]:
    """Returns each id in the model's type, with its row; -1 for an unknown id."""
    by_text = {str(key): (key, row) for row, key in enumerate(model.user_ids)}
    return [by_text.get(user, (None, -1)) for user in users]


def _expected(model: Any, seen: Any, user: Any, place: int) -> list[tuple[Any, float]]:
    had = [] if seen is None or place < 0 else seen.columns[slice(*seen.indptr[place : place + 2])]
    items = [model.item_ids[int(item)] for item in had]
    query = _unknown_id(model) if place < 0 else user
    found: list[tuple[Any, float]] = model.recommend_items(query, _LENGTH, exclude_seen=items)
    return found


def _unknown_id(model: Any) -> Any:
    """Returns an id of the model's type that is not in the model."""
    ids = model.user_ids
    return max(ids) + 1 if len(ids) and isinstance(ids[0], int) else _STRANGER
