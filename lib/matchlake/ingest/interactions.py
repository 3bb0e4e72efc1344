"""The plan of `silver.interactions`: one row per user and item, from silver tables of events."""

from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.formulas.weights import time_decay
from matchlake.ingest.last_records import ORDER, last_per_key
from matchlake.ingest.params import (
    InteractionsParams,
    InteractionsSource,
    SilverParams,
    StreamParams,
)
from matchlake.ingest.silver import SilverSpec, silver_specs
from matchlake.schemas import EVENT_TIME, INTERACTIONS, ITEM_ID, RATING, USER_ID


class Source(NamedTuple):
    """A silver table of events, and the columns of it that become interactions."""

    name: str
    params: InteractionsSource
    silver: SilverSpec

    def events(self, rows: DataFrame) -> DataFrame:
        """The events: user_id, item_id, rating, event_time, and Kafka's position. Lazy.

        Raises ConfigError for a column that the stream does not require, and for a rating that is
        not an expression over the columns of the table.
        """
        silver, columns = self.silver, self.params
        try:
            return rows.select(
                F.col(silver.require(columns.user_id, "user_id")).cast("string").alias(USER_ID),
                F.col(silver.require(columns.item_id, "item_id")).cast("string").alias(ITEM_ID),
                self._rating(rows).alias(RATING),
                F.col(silver.event_time).alias(EVENT_TIME),
                *ORDER,
            )
        except AnalysisException as error:
            raise ConfigError(
                f"{self._key} {columns.rating!r} cannot be computed from {silver.silver.table} "
                f"({error.getErrorClass()}). Its columns are {', '.join(rows.columns)}."
            ) from None

    @property
    def may_lack_rating(self) -> bool:
        """Whether a rating may be null or infinite. Required columns and 1 never are."""
        column = self.silver.stream.columns.get(self.params.rating or "")
        return self.params.rating is not None and not (column and column.required)

    @property
    def _key(self) -> str:
        return f"silver.interactions.sources.{self.name}.rating"

    def _rating(self, rows: DataFrame) -> SparkColumn:
        if self.params.rating is None:
            return F.lit(1.0)
        rating = F.expr(self.params.rating)
        kind = rows.select(rating.alias(RATING)).dtypes[0][1]
        if kind not in _NUMBERS and not kind.startswith("decimal"):
            raise ConfigError(
                f"{self._key} {self.params.rating!r} is {kind}: it has to be a number. "
                "Set it to null to give every event the rating 1."
            )
        return rating.cast("double")


_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double")


class InteractionsSpec(NamedTuple):
    """The sources of `silver.interactions`, and how their events become one row per pair."""

    params: InteractionsParams
    sources: Mapping[str, Source]

    @property
    def needs_check(self) -> bool:
        """Whether the events are read first, to count missing ratings or find the newest one."""
        wants_newest = self.params.half_life_days and not self.params.reference_time
        return bool(wants_newest) or any(each.may_lack_rating for each in self.sources.values())

    def events(self, tables: Mapping[str, DataFrame]) -> DataFrame:
        """The events of all sources, from their silver tables by name. Lazy."""
        each = (source.events(tables[name]) for name, source in self.sources.items())
        return reduce(DataFrame.unionByName, each)

    def rows(self, events: DataFrame, newest: datetime | None = None) -> DataFrame:
        """One row per user and item, with the columns of `silver.interactions`. Lazy.

        Events without a finite rating are left out. `newest` is the time of the newest event, for
        a decay without a reference time. The result does not depend on the order of the events.
        """
        rated = events.where(is_rated())
        half_life, reference = self.params.half_life_days, self.params.reference_time or newest
        if half_life:
            decay = time_decay(F.col(EVENT_TIME), F.lit(reference).cast("timestamp"), half_life)
            rated = rated.withColumn(RATING, F.col(RATING) * decay)
        keys = INTERACTIONS.keys
        if self.params.aggregation == "last":
            return last_per_key(rated, keys, first=(EVENT_TIME,)).select(INTERACTIONS.column_names)
        rating = F.max(RATING) if self.params.aggregation == "max" else _sum(RATING)
        grouped = rated.groupBy(*keys)
        return grouped.agg(rating.alias(RATING), F.max(EVENT_TIME).alias(EVENT_TIME))


def is_rated() -> SparkColumn:
    """Whether an event has a finite rating."""
    rating = F.col(RATING)
    infinite = F.abs(rating) == F.lit(float("inf"))
    return rating.isNotNull() & ~F.isnan(rating) & ~infinite


def _sum(name: str) -> SparkColumn:
    """The sum in ascending order, so that it does not depend on the order of the rows."""
    ordered = F.array_sort(F.collect_list(name))
    return F.aggregate(ordered, F.lit(0.0), lambda total, each: total + each)


def interactions_spec(
    params: SilverParams, streams: dict[str, StreamParams]
) -> InteractionsSpec | None:
    """How `silver.interactions` is built; None if conf does not declare its sources."""
    if params.interactions is None:
        return None
    specs = silver_specs(params, streams)
    sources = {
        name: Source(name, source, specs[name])
        for name, source in params.interactions.sources.items()
    }
    return InteractionsSpec(params.interactions, sources)
