"""A recommender exported as ONNX, with the lists inside that it was verified with.

As `exports` does for other models: it is written beside its place, answers the same users in
another process, and is refused if a list differs. Two neighbours of a list may change places if
their scores are equal but for rounding.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from matchlake.errors import ModelError, ParameterError
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.onnx_session import onnx_runner
from matchlake.model_store.recommender_graph import EXCLUDE, ITEM, SCORE, USER, K, recommender_graph
from matchlake.model_store.seen_items import load_seen_items
from matchlake.params import Params

Array = npt.NDArray[Any]

KEY = "matchlake.recommender"
"""The key of the metadata of a graph with its lists."""
_USERS, _LENGTH, _TOLERANCE = 100, 20, 1e-5
_LARGEST = 2_000_000_000
_STRANGER = "\u2205 no user has this id"


class VerifiedLists(Params):
    """Users, and the lists that the model has for them."""

    matchlake_version: str = Field(default_factory=lambda: version("matchlake"))
    """The release that wrote the export."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """The digest of the graph without these lists."""
    users: tuple[str, ...]
    k: int
    items: tuple[tuple[str, ...], ...]
    """The list of each user, best first."""
    scores: tuple[tuple[float, ...], ...]
    tolerance: float = Field(_TOLERANCE, gt=0, le=1e-3)
    """The largest difference of scores, relative to the larger of the expected one and 1."""
    largest_difference: float | None = None
    """The largest difference that was found; None before the first comparison."""

    @property
    def rows(self) -> int:
        """The number of lists."""
        return len(self.users)


class Exported(NamedTuple):
    """An exported recommender."""

    content: bytes
    """The graph without the lists."""
    verified: VerifiedLists


def write_recommender(folder: Path, path: Path) -> Path:
    """Writes the graph of a saved model, not verified yet, beside `path`; returns where it is.

    Raises ParameterError for a model without a graph, and for one that is too large for ONNX.
    """
    if not path.name.endswith(".onnx"):
        raise ParameterError(f"{path.name} must end in .onnx: verify finds the format by it.")
    model, seen = load_numpy(folder), load_seen_items(folder)
    graph = recommender_graph(model, seen)
    if len(graph) > _LARGEST:
        raise ParameterError(
            f"The graph has {len(graph)} bytes, and ONNX allows {_LARGEST}: fit a smaller rank."
        )
    users = [*map(str, _spread(model.user_ids)), _STRANGER]
    lists = [_expected(model, seen, user, place) for user, place in _queries(model, users)]
    verified = VerifiedLists(
        sha256=hashlib.sha256(graph).hexdigest(),
        users=tuple(users),
        k=_LENGTH,
        items=tuple(tuple(str(item) for item, _ in each) for each in lists),
        scores=tuple(tuple(float(score) for _, score in each) for each in lists),
    )
    partial = path.with_name(f".{path.name}.unverified.onnx")
    partial.write_bytes(with_lists(graph, verified))
    return partial


def finish_recommender(partial: Path, path: Path, difference: float) -> None:
    """Writes the figure of the comparison into the export and moves it to its place."""
    exported = read_recommender(partial)
    if exported is None:
        raise ModelError(f"{partial} is no exported recommender.")
    content, verified = exported
    figures = verified.model_copy(update={"largest_difference": difference})
    partial.write_bytes(with_lists(content, figures))
    partial.replace(path)


def verify_recommender(path: Path, exported: Exported) -> tuple[VerifiedLists, float]:
    """The lists inside an export, and the largest difference of a score found now.

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
        largest = max(largest, _difference(user, pair, tuple(listed), verified.tolerance))
    return verified, largest


def read_recommender(path: Path) -> Exported | None:
    """The graph without its lists, and the lists; None for any other file.

    Raises ModelError if the lists are damaged.
    """
    import onnx  # noqa: PLC0415 - the extra `models`

    if path.suffix != ".onnx" or not path.is_file():
        return None
    try:
        graph = onnx.load_model_from_string(path.read_bytes())
    except Exception:  # noqa: BLE001 - protobuf raises errors of several kinds
        return None
    found = {each.key: each.value for each in graph.metadata_props}
    if KEY not in found:
        return None
    try:
        verified = VerifiedLists.model_validate_json(found[KEY])
    except ValueError:
        raise ModelError(f"The lists inside {path} are damaged. Export the model again.") from None
    del graph.metadata_props[:]
    return Exported(bytes(graph.SerializeToString(deterministic=True)), verified)


def with_lists(content: bytes, verified: VerifiedLists) -> bytes:
    """The graph with the lists as its metadata."""
    import onnx  # noqa: PLC0415 - the extra `models`

    graph = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(graph, {KEY: verified.model_dump_json()})
    return bytes(graph.SerializeToString(deterministic=True))


def _spread(ids: Any) -> list[Any]:
    """Some ids, from the first to the last."""
    places = np.unique(np.linspace(0, len(ids) - 1, _USERS).astype(int))
    return [ids[place] for place in places.tolist()]


def _queries(model: Any, users: list[str]) -> list[tuple[Any, int]]:
    """Each id as the model has it, with its row; -1 for an unknown one."""
    by_text = {str(key): (key, row) for row, key in enumerate(model.user_ids)}
    return [by_text.get(user, (None, -1)) for user in users]


def _expected(model: Any, seen: Any, user: Any, place: int) -> list[tuple[Any, float]]:
    had = [] if seen is None or place < 0 else seen.columns[slice(*seen.indptr[place : place + 2])]
    items = [model.item_ids[int(item)] for item in had]
    query = _unknown_id(model) if place < 0 else user
    found: list[tuple[Any, float]] = model.recommend_items(query, _LENGTH, exclude_seen=items)
    return found


def _unknown_id(model: Any) -> Any:
    """An id of the model's type that it does not know."""
    ids = model.user_ids
    return max(ids) + 1 if len(ids) and isinstance(ids[0], int) else _STRANGER


def _difference(
    user: str, found: tuple[list[str], Array], listed: tuple[Any, ...], tolerance: float
) -> float:
    """The largest difference of a score; raises ModelError for another list."""
    items, scores = listed[0], np.array(listed[1])
    if len(found[0]) != len(items):
        raise ModelError(f"The list of user {user!r} has another length than the model's.")
    unit = np.maximum(1.0, np.abs(scores))
    largest = float((np.abs(found[1] - scores) / unit).max(initial=0.0))
    if largest > tolerance:
        raise ModelError(
            f"A score of user {user!r} differs by {largest:.3g} from the model's; {tolerance:g} is "
            "allowed. Export the model again."
        )
    for rank in (rank for rank, item in enumerate(items) if item != found[0][rank]):
        tied = np.abs(scores - scores[rank]) <= 2 * tolerance * unit
        # An item of the same score as the last one may stand outside of the model's list.
        if not tied[-1] and found[0][rank] not in {items[other] for other in np.flatnonzero(tied)}:
            raise ModelError(
                f"Item {rank + 1} of user {user!r} is {found[0][rank]!r} instead of "
                f"{items[rank]!r}. Export the model again."
            )
    return largest
