"""`MatchboxModel`: the posterior as frames, and what it predicts."""

from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.packing import Array
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.columns import KEYS, require_columns
from matchlake.recommender.matchbox.chains import PREFIX, Mixing, measure_mixing
from matchlake.recommender.matchbox.encoding import FittedEncoders
from matchlake.recommender.matchbox.feature_weights import link_weights
from matchlake.recommender.matchbox.fold_in_spark import fold_in_rows
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.posterior import compact_row
from matchlake.recommender.matchbox.sampler.ratings import ITEM, USER
from matchlake.recommender.matchbox.scoring import score_cells
from matchlake.schemas import EVENT_TIME, ITEM_ID, SCORE, USER_ID

_LATER = 1 << 62
"""Indices from here on belong to rows that were folded in."""


@dataclass(frozen=True)
class MatchboxModel:
    """A fitted posterior as lazy frames, with what is small as arrays.

    `users` has `user_id`, `user_idx`, `factors` (all samples' factors side by side, each over the
    root of the samples), `biases` (one a sample), `compact` (few columns with nearly the same dot
    products), `observed` (ratings that trained the row, 0 for a row that is its features' prior
    mean) and `response` (the user's precision in every sample, or gaps between thresholds);
    `items` likewise without the last; `days` has `user_id`, `day` (days since 1970), `factors` and
    `biases`. `report` holds priors, shared response, traces and history.
    """

    users: DataFrame
    items: DataFrame
    days: DataFrame | None
    report: dict[str, Array] = field(repr=False)
    params: MatchboxParams
    encoders: FittedEncoders

    @property
    def mean(self) -> float:
        """What is added to every score: the mean of the ratings; 0 where they are levels."""
        return float(self.report["mean"])

    @property
    def levels(self) -> list[float] | None:
        """The levels a rating can have, ascending; None where it is a number."""
        found = self.report.get("levels")
        return None if found is None else [float(level) for level in found]

    def factor_model(self) -> FactorModel:
        """The posterior mean of users and items as one factor model of few columns.

        What ranks users and items does so by this. Its scores are expected ratings where ratings
        are numbers, within `params.compact_loss`, and expected latent numbers where they are
        levels; days have no part in it.
        """
        bias = F.aggregate("biases", F.lit(0.0), lambda a, b: a + b) / F.size("biases")
        factors = F.col("compact").alias("factors")
        columns = (factors, bias.cast("float").alias("bias"), "observed")
        rank = self.report["compact_users"].shape[1]
        return FactorModel(
            users=self.users.select(USER_ID, "user_idx", *columns),
            items=self.items.select(ITEM_ID, "item_idx", *columns),
            mean=self.mean,
            params=AlsParams(feedback="explicit", rank=rank),
        )

    @property
    def predicts_ratings(self) -> bool:
        """A score is a rating."""
        return True

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """As `FactorModel.recommend_items`, for users known by features too; None for all.

        `score` is the expected rating; `cold` is true for a user without ratings in the fit. A user
        that the model does not know at all is the average user, here as in `score`.
        """
        flat = self.factor_model()
        asked = self._asked(users, flat.users, USER)
        lists = flat.recommend_items(asked, k, exclude_seen=exclude_seen, candidates=candidates)
        return self._rated(lists, self.users, USER_ID)

    def recommend_users(
        self,
        items: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """As `recommend_items`, with users and items exchanged."""
        flat = self.factor_model()
        asked = self._asked(items, flat.items, ITEM)
        lists = flat.recommend_users(asked, k, exclude_seen=exclude_seen, candidates=candidates)
        return self._rated(lists, self.items, ITEM_ID)

    def _asked(self, wanted: DataFrame | None, known: DataFrame, side: int) -> DataFrame | None:
        """Those to recommend for, with their compact rows: the average row's for an unknown id."""
        if wanted is None:
            return None
        key = KEYS[side]
        require_columns(wanted, (key,), "the frame of those to recommend for")
        factors, bias = compact_row(self.report, side)
        rows = known.select(key, "factors", "bias")
        asked = wanted.select(key).where(F.col(key).isNotNull()).distinct().join(rows, key, "left")
        average = F.array(*map(F.lit, factors.tolist())).cast("array<float>")
        return asked.withColumns(
            {
                "factors": F.coalesce("factors", average),
                "bias": F.coalesce("bias", F.lit(bias).cast("float")),
            }
        )

    def _rated(self, lists: DataFrame, side: DataFrame, key: str) -> DataFrame:
        """The flag from `observed`; where ratings are levels, their expectation as the score."""
        trained = side.where(F.col("observed") > 0).select(key, F.lit(col=False).alias("_cold"))
        flagged = lists.join(trained, key, "left")
        flagged = flagged.withColumn("cold", F.coalesce("_cold", F.lit(col=True))).drop("_cold")
        if self.levels is None:
            return flagged
        pairs = flagged.drop(SCORE).withColumnRenamed("cold", "_cold")
        if self.params.dates:
            pairs = pairs.withColumn(EVENT_TIME, F.lit(None).cast("timestamp"))
        scored = self.score(pairs).drop("cold").withColumnRenamed("_cold", "cold")
        return scored.select(*lists.columns)

    def score(self, pairs: DataFrame, *, clip: tuple[float, float] | None = None) -> DataFrame:
        """Adds `score`, `deviation`, `cold` and, for levels, `chances` to `pairs`; lazy.

        `score` (float) is the expected rating, kept within `clip` where given; `deviation` (float)
        its predictive standard deviation, a new rating's noise included; `cold` is true where user
        or item had no ratings to learn from: such a row is its features' prior mean, or that of
        the average row where the id is unknown. `chances` (array<float>) has the probability of
        each of `levels`. With `params.dates` the day of `event_time` counts; a day of the user
        that the model does not know, or null, is an average day.
        """
        timed = (EVENT_TIME,) if self.params.dates else ()
        require_columns(pairs, (USER_ID, ITEM_ID, *timed), "the pairs")
        return score_cells(self, pairs, clip)

    def fold_in_users(
        self, history: DataFrame | None, features: DataFrame | None = None
    ) -> DataFrame:
        """Rows for new or changed users, given all else: conditional means, sample by sample.

        Reads `user_id`, `item_id` and `rating` of `history`, and the users' columns of `features`;
        a user is in either or both. Gives `user_id`, `factors`, `biases`, `compact`, `observed` and
        `prior_share` (float: the part of the prior's variance that ratings leave, which widens the
        `deviation` of scores) for `with_users`; lazy. From no ratings (the prior mean, a
        share of 1 or more) to many the hand-over is smooth.
        Ratings of items that had no ratings in the fit do not count, nor do days. Features that are
        not given count as missing. What computes the rows fails, and shows one, on ratings that are
        null, not finite or, where they are levels, none of them.
        """
        return fold_in_rows(self, USER, history, features)

    def fold_in_items(
        self, history: DataFrame | None, features: DataFrame | None = None
    ) -> DataFrame:
        """As `fold_in_users`, for items, by `item_id`."""
        return fold_in_rows(self, ITEM, history, features)

    def with_users(self, rows: DataFrame) -> "MatchboxModel":
        """The model with `rows` of `fold_in_users` in the place of, or beside, its users."""
        return replace(self, users=_with_rows(self.users, rows, USER_ID, "user_idx"))

    def with_items(self, rows: DataFrame) -> "MatchboxModel":
        """The model with `rows` of `fold_in_items` in the place of, or beside, its items."""
        return replace(self, items=_with_rows(self.items, rows, ITEM_ID, "item_idx"))

    def user_weights(self) -> DataFrame:
        """Which feature of users pulls which way: a row a feature.

        Columns `feature`, `source` (the column it was made from, or `history`), `category` (an item
        id for history), `pull` (float: what one unit of it adds to the rating of a typical item),
        `deviation` (float: its posterior standard deviation) and `taste` (float: how much what it
        adds differs from item to item, a standard deviation).
        """
        return link_weights(self, USER)

    def item_weights(self) -> DataFrame:
        """As `user_weights`, for features of items."""
        return link_weights(self, ITEM)

    def mixing(self) -> list[Mixing]:
        """How well the chains have mixed: R-hat and effective samples of error, noise, scales."""
        trace = {name: array for name, array in self.report.items() if name.startswith(PREFIX)}
        return measure_mixing(trace, self.params.burn_in)


def _with_rows(known: DataFrame, rows: DataFrame, key: str, index: str) -> DataFrame:
    """Rows that came later have indices beyond all others, from their ids."""
    kept = known.join(rows.select(key), key, "anti")
    later = F.shiftrightunsigned(F.xxhash64(key), 2) + F.lit(_LATER)
    return kept.unionByName(rows.withColumn(index, later), allowMissingColumns=True)
