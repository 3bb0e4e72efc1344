"""The query that scores pairs of a user and an item, by the factors of an ALS model.

The factors of users and items are broadcast, so the query runs in real time too.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from matchlake.errors import ConfigError
from matchlake.formulas.sql import SPARK
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.sides import KEYS
from matchlake.schemas import ITEM_ID, SCORE, USER_ID
from matchlake.training.event_scores import CARRIED, EventQuery

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.recommender.protocol import Recommender

_LARGEST = 1 << 29
_NO_PAIR = "null_field: a pair needs a user and an item"


@dataclass(frozen=True)
class PairQuery(EventQuery):
    """Events with `user_id` and `item_id`, scored by a recommender; adds `score`, `is_cold_start`.

    An unknown user or item counts as an average one, and `is_cold_start` is true.
    """

    model: FactorModel = field(repr=False)

    def columns(self) -> tuple[str, ...]:
        """The user and the item."""
        return KEYS

    def named(self) -> tuple[str, ...]:
        """The pair and its score."""
        return (*KEYS, SCORE, "is_cold_start")

    def refused_sql(self) -> str | None:
        """A pair without a user or an item."""
        missing = f"{USER_ID} IS NULL OR {ITEM_ID} IS NULL"
        return f"IF({missing}, {SPARK.text(_NO_PAIR)}, NULL)"

    def unscored_sql(self) -> str | None:
        """Each pair has a score."""
        return None

    def scored(self, rows: "DataFrame") -> "DataFrame":
        """The scores, by joins with broadcast factors."""
        from pyspark.sql import functions as F  # noqa: PLC0415 - conf is read without Spark

        users, items = self.model.user_factors, self.model.item_factors
        model = replace(
            self.model, user_factors=F.broadcast(users), item_factors=F.broadcast(items)
        )
        return model.score(rows.select(*CARRIED, *KEYS))


def require_pairs(model: "Recommender", name: str) -> FactorModel:
    """The model, if its factors can score events; raises ConfigError with the reason."""
    if not isinstance(model, FactorModel):
        raise ConfigError(
            f"score_events.streams.{name}: the champion of the recommender is {model.algorithm}, "
            "and events are scored by als alone. Train with train.algorithm als, or score the "
            "pairs of a table: recommend.score_pairs_table."
        )
    size = sum(model.sizes or ()) * model.params.rank * 4
    if size > _LARGEST:
        raise ConfigError(
            f"score_events.streams.{name}: the factors have {size >> 20} MiB, and each executor "
            f"holds them; at most {_LARGEST >> 20} MiB are allowed. Fit with a smaller train rank, "
            "or score the pairs of a table: recommend.score_pairs_table."
        )
    return model
