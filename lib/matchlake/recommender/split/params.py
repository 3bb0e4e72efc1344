"""Parameters of a split."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from matchlake.params import Params

SplitKind = Literal[
    "random", "time", "user_time", "last_n", "cold_users", "cold_items", "recommender"
]

_FIELDS_OF: dict[SplitKind, frozenset[str]] = {
    "random": frozenset({"test_fraction"}),
    "time": frozenset({"test_fraction", "cutoff"}),
    "user_time": frozenset({"test_fraction"}),
    "last_n": frozenset({"last_n"}),
    "cold_users": frozenset({"test_fraction"}),
    "cold_items": frozenset({"test_fraction"}),
    "recommender": frozenset(
        {"training_users", "kept_ratings", "cold_users", "cold_items"}
        | {"ignored_users", "ignored_items", "drop_stray_cold_items"}
    ),
}


class SplitParams(Params):
    """The kind of split, and its fields; fields that the kind does not read are refused."""

    kind: SplitKind = "random"
    """The rows of the test part. `random`: all rows of drawn (user, item) pairs. `time`: all rows
    after one cutoff. `user_time`: the latest fraction of each user's rows. `last_n`: each user's
    last n rows. `cold_users`, `cold_items`: all rows of drawn users or items. `recommender`: as in
    Infer.NET and Azure ML; see `split_recommender`."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the random draws; `time` has no random draws."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Fraction of the rows, or of the users or items, in the test part."""
    cutoff: AwareDatetime | None = None
    """`time`: the test part has all rows from this time on; null: the latest `test_fraction`."""
    last_n: int = Field(1, ge=1)
    """`last_n`: number of each user's latest events in the test part."""
    training_users: float = Field(0.5, ge=0, le=1)
    """`recommender`: fraction of users whose rows are all for training."""
    kept_ratings: float = Field(0.25, ge=0, le=1)
    """`recommender`: fraction of a test user's rows kept for training, at least one row."""
    cold_users: float = Field(0.0, ge=0, le=1)
    """`recommender`: fraction of users with no row in training."""
    cold_items: float = Field(0.0, ge=0, le=1)
    """`recommender`: fraction of items with no row in training."""
    ignored_users: float = Field(0.0, ge=0, le=1)
    """`recommender`: fraction of users left out of both parts."""
    ignored_items: float = Field(0.0, ge=0, le=1)
    """`recommender`: fraction of items left out of both parts."""
    drop_stray_cold_items: bool = False
    """`recommender`: leave out test rows of items that training lacks by chance only."""

    @model_validator(mode="after")
    def _fractions_fit(self) -> Self:
        users = self.training_users + self.cold_users + self.ignored_users
        items = self.cold_items + self.ignored_items
        for side, total in (
            ("training_users + cold_users + ignored_users", users),
            ("cold_items + ignored_items", items),
        ):
            if total > 1 + 1e-9:
                raise ValueError(f"{side} is {total:.4g}; the sum must be at most 1")
        return self

    @model_validator(mode="after")
    def _fields_are_read(self) -> Self:
        read = _FIELDS_OF[self.kind] | {"kind", "seed"}
        if self.cutoff is not None:
            read -= {"test_fraction"}
        fields = type(self).model_fields
        unread = [
            name
            for name in fields
            if name not in read and getattr(self, name) != fields[name].default
        ]
        if unread:
            raise ValueError(
                f"a split of kind {self.kind!r} does not read {', '.join(sorted(unread))}; "
                f"it reads {', '.join(sorted(read))}"
            )
        return self
