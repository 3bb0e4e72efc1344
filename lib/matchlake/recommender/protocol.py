"""The protocol that every recommender model follows, on Spark and in NumPy.

A model states in `capabilities` what it supports; any other call raises `ParameterError`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    Protocol,
    Self,
    TypeVar,
)

from matchlake.engine.top_k import Best
from matchlake.errors import ParameterError
from matchlake.recommender.numpy_answers import Choice, recommend, score
from matchlake.recommender.sides import ITEM, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.engine.csr import Floats
    from matchlake.formulas.onnx import Graph
    from matchlake.recommender.progress import ProgressCallback

Capability = Literal[
    "recommend_users",
    "similar",
    "related",
    "fold_in_users",
    "fold_in_items",
    "features",
    "uncertainty",
    "feature_effects",
]
"""What a model may support besides `score` and `recommend_items`.

`similar`: `similar_items` and `similar_users`. `related`: `related_items` and `related_users`.
`features`: `fold_in` reads feature columns. `uncertainty`: scores have `rating_std`.
"""

ALL_FACTOR_VERBS: frozenset[Capability] = frozenset({"recommend_users", "similar", "related"})

Metric = Literal["cosine", "co_rating"]
"""The similarity of two items (or users). `cosine`: the cosine of their factors; 1 is most similar.
`co_rating`: the distance of their ratings; 0 is most similar, see `co_rating.py`."""

Rows = TypeVar("Rows")


class Pools(NamedTuple):
    """The candidates of related lists.

    `min_co_ratings`: minimum number of common ratings of two related items (or users).
    `min_candidates`: minimum number of candidates of a list. `noise`: variance of a rating around
    its score.
    """

    min_co_ratings: int = 2
    min_candidates: int = 2
    noise: float = 1.0


DEFAULT_POOLS = Pools()


class RankedLists(NamedTuple):
    """Ranked lists, and the skipped users or items: id and `pool`, the number of candidates."""

    lists: "DataFrame"
    skipped: "DataFrame"


@dataclass(frozen=True)
class ModelParts(Generic[Rows]):
    """All parts of a model, for saving: as Spark frames, or as Arrow tables.

    `users` has `user_id` and `user_idx` (0, 1, 2, ... in any order of rows), `items` likewise.
    """

    users: Rows
    items: Rows
    params: Any
    values: Mapping[str, float] = field(default_factory=dict)
    """Scalars, such as the mean."""
    tables: Mapping[str, Rows] = field(default_factory=dict)
    """Further rows by name; they must fit in the driver."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Arrays or JSON as bytes, by file name."""
    sizes: tuple[int, int] | None = None
    """The numbers of users and items, if known."""


class TrainingInputs(NamedTuple):
    """The inputs of a fit: interactions, and optional features of users and items.

    `encoders` declare how feature columns become numbers, one per side. If a fit supports it, it
    reports its metric on `validation`.
    """

    interactions: "DataFrame"
    user_features: "DataFrame | None" = None
    item_features: "DataFrame | None" = None
    encoders: tuple[Any, Any] = (None, None)
    validation: "DataFrame | None" = None


class FitContext(NamedTuple):
    """The environment of a fit: its checkpoint, the state to resume, and the callback."""

    checkpoint: "Callable[[DataFrame], DataFrame]"
    state: "DataFrame | None" = None
    callback: "ProgressCallback | None" = None


def refuse(model: object, verb: str) -> NoReturn:
    """Raises ParameterError, because the model does not support the method `verb`."""
    able = ", ".join(["score", "recommend_items", *sorted(getattr(model, "capabilities", ()))])
    raise ParameterError(f"{type(model).__name__} does not support {verb}; it supports {able}.")


def require(model: object, capability: Capability, verb: str) -> None:
    """Raises ParameterError unless the model has the capability for the method `verb`."""
    if capability not in getattr(model, "capabilities", ()):
        refuse(model, verb)


class Recommender(Protocol):
    """A fitted model as lazy Spark frames."""

    algorithm: ClassVar[str]
    """The name of the algorithm in `ALGORITHMS`."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    @property
    def predicts_ratings(self) -> bool:
        """Returns whether scores are ratings; otherwise they only order items."""

    def known(self, side: int) -> "DataFrame":
        """The ids of users (side 0) or items (side 1), with `n_interactions`; lazy."""

    def score(self, pairs: "DataFrame", *, clip: tuple[float, float] | None = None) -> "DataFrame":
        """Adds `score` and `is_cold_start` to pairs of `user_id` and `item_id`; lazy.

        `clip` limits the scores to a range.
        """

    def recommend_items(
        self,
        users: "DataFrame | None",
        k: int,
        *,
        exclude_seen: "DataFrame | None" = None,
        candidates: "DataFrame | None" = None,
    ) -> "DataFrame":
        """The best items of each user: `user_id`, `rank`, `item_id`, `score`, `is_cold_start`.

        Lazy. Equal scores are ordered by the items' index.

        Args:
            users: The users, by `user_id`; None for all users of the model.
            k: Length of a list, 1 or more; shorter if fewer items are left.
            exclude_seen: Pairs `user_id`, `item_id` not to recommend.
            candidates: Items to choose from, by `item_id`; with a column `user_id` too, the
                candidates of each user. Then `exclude_seen` is subtracted from them.

        Raises:
            SchemaError: A frame lacks columns.
            ParameterError: `k` is below 1.
        """

    def recommend_users(
        self,
        items: "DataFrame | None",
        k: int,
        *,
        exclude_seen: "DataFrame | None" = None,
        candidates: "DataFrame | None" = None,
    ) -> "DataFrame":
        """Like `recommend_items`, with users and items exchanged."""
        refuse(self, "recommend_users")

    def similar_items(
        self, items: "DataFrame | None", k: int, *, metric: Metric = "cosine"
    ) -> "DataFrame":
        """The `k` most similar items of each item, without itself; lazy.

        Returns `item_id`, `rank`, `similar_item_id`, `score`; unknown items have no rows.
        """
        refuse(self, "similar_items")

    def similar_users(
        self, users: "DataFrame | None", k: int, *, metric: Metric = "cosine"
    ) -> "DataFrame":
        """Like `similar_items`; returns `user_id`, `rank`, `similar_user_id`, `score`."""
        refuse(self, "similar_users")

    def related_items(
        self,
        items: "DataFrame | None" = None,
        k: int = 5,
        *,
        rated: "DataFrame | None" = None,
        pools: Pools = DEFAULT_POOLS,
    ) -> RankedLists:
        """The `k` trained items with the most similar rating patterns, for each item.

        Returns `item_id`, `rank`, `related_item_id`, `score`. The score estimates how much a user's
        ratings of both items differ, in units of a rating; smaller means more similar. With `rated`
        (`user_id`, `item_id`) the candidates of an item are those that at least
        `pools.min_co_ratings` users rated together with it. Items with fewer than
        `pools.min_candidates` candidates are skipped. Starts one job, over the users' factors.
        """
        refuse(self, "related_items")

    def related_users(
        self,
        users: "DataFrame | None" = None,
        k: int = 5,
        *,
        rated: "DataFrame | None" = None,
        pools: Pools = DEFAULT_POOLS,
    ) -> RankedLists:
        """Like `related_items`; returns `user_id`, `rank`, `related_user_id`, `score`."""
        refuse(self, "related_users")

    def fold_in(
        self,
        *,
        users: "DataFrame | None" = None,
        items: "DataFrame | None" = None,
        user_features: "DataFrame | None" = None,
        item_features: "DataFrame | None" = None,
        checkpoint: "Callable[[DataFrame], DataFrame] | None" = None,
    ) -> Self:
        """Returns the model with new or changed users and items; lazy. Other rows stay unchanged.

        Args:
            users: Histories of users: `user_id`, `item_id` and the column that was fitted.
            items: Histories of items, in the same columns.
            user_features: Feature columns by `user_id`, for models with the capability `features`.
            item_features: Feature columns by `item_id`.
            checkpoint: Stores the new rows, so that they are not computed at each use.
        """
        refuse(self, "fold_in")

    def diagnostics(self) -> Mapping[str, float]:
        """Numbers that describe the fit, by name; empty if there are none."""
        return {}

    def feature_effects(self) -> "DataFrame":
        """The estimated effect of each feature on the rating.

        Columns `side` (user or item), `feature`, `source`, `category`, `effect`, `effect_std`,
        `effect_heterogeneity`.
        """
        refuse(self, "feature_effects")

    def to_parts(self) -> "ModelParts[DataFrame]":
        """All parts of the model as frames, for saving."""

    def to_numpy(self) -> "NumpyRecommender":
        """The model as NumPy arrays on the driver; runs one Spark job per frame of the model."""


class NumpyRecommender(Protocol):
    """A fitted model in memory: the methods of `Recommender`, for single ids and for tables.

    Ids of another type are converted if this is exact; for example, an integer becomes a string if
    ids are strings. Other ids are refused.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    if TYPE_CHECKING:  # Properties are read-only; subclasses may have them as fields.

        @property
        def user_ids(self) -> Sequence[Any]:
            """All users."""

        @property
        def item_ids(self) -> Sequence[Any]:
            """All items."""

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had interactions in the fit."""

    def score(self, user_ids: Any, item_ids: Sequence[Any] | None = None) -> Any:
        """The scores of pairs of ids, as an array; NaN for a null id.

        If the only argument is a table with `user_id` and `item_id`, it returns this table with
        `score` and `is_cold_start` (the user or the item had no interactions in the fit). Both are
        null if an id is null. The result is a table of the same library: pandas, Polars or Arrow.
        """
        return score(self, user_ids, item_ids)

    def onnx_scores(self, graph: "Graph", user: str) -> str:
        """Adds the scores of all items for a user to an ONNX graph; `user` is an id as string [1].

        The result is single precision [1, items]. Raises ParameterError if the model has no graph.
        """
        refuse(self, "onnx_scores")

    def recommend_items(
        self,
        user: Any,
        k: int,
        *,
        exclude_seen: Any = (),
        candidates: Any = None,
    ) -> Any:
        """The `k` best items of a user as (item_id, score), best first; ties by item index.

        If `user` is a table with `user_id`, or None for all users, it returns a table of the same
        library with `user_id`, `rank`, `item_id`, `score`, `is_cold_start`. Null users have no
        rows.

        Args:
            user: An id, a folded-in row, a table, or None.
            k: Length of a list, 1 or more; shorter if fewer items are left.
            exclude_seen: Items not to recommend; or pairs, as a table or a sparse matrix.
            candidates: Items to choose from, by id or in a table with `item_id`. With `user_id`
                too, or in a sparse matrix, they are the candidates of each user.

        Raises:
            InputError: `user` is null, or neither an id nor a table.
            SchemaError: Columns are missing, or an id cannot be converted to the model's type.
        """
        return recommend(self, USER, user, k, exclude_seen, candidates)

    def recommend_users(
        self,
        item: Any,
        k: int,
        *,
        exclude_seen: Any = (),
        candidates: Any = None,
    ) -> Any:
        """Returns the `k` best users for an item, in the form of `recommend_items`."""
        require(self, "recommend_users", "recommend_users")
        return recommend(self, ITEM, item, k, exclude_seen, candidates)

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each user (side 0) or item (side 1)."""

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """The best rows of the other side for each entry of `side`: an id, or a folded-in row."""

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> "Floats":
        """The scores of pairs of ids in the model's type, or of folded-in rows."""

    def similar_items(
        self, item: Any, k: int, *, metric: Metric = "cosine"
    ) -> list[tuple[Any, float]]:
        """The `k` most similar items of an item, without itself; KeyError if it is unknown."""
        refuse(self, "similar_items")

    def similar_users(
        self, user: Any, k: int, *, metric: Metric = "cosine"
    ) -> list[tuple[Any, float]]:
        """Returns the `k` most similar users of a user, like `similar_items`."""
        refuse(self, "similar_users")

    def related_items(self, item: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` trained items with the most similar rating patterns, as (item_id, distance).

        Raises KeyError if the item is unknown.
        """
        refuse(self, "related_items")

    def related_users(self, user: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` trained users with the most similar rating patterns."""
        refuse(self, "related_users")

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
    ) -> Self:
        """Returns the model with new or changed users {user_id: {item_id: value}} and items."""
        refuse(self, "fold_in")
