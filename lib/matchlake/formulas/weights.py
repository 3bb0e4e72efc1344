"""Weights of interactions as plain column expressions, for the column `weight`."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from matchlake.errors import ParameterError

_DAY = 86400.0


def time_decay(event_time: Column, now: Column, half_life_days: float) -> Column:
    """`0.5 ^ (age / half life)`: 1 for events at `now` or later, 0.5 one half-life earlier.

    `event_time` and `now` are timestamps; if either is null, the weight is null.
    """
    if not half_life_days > 0:
        raise ParameterError(
            f"half_life_days={half_life_days} must be above 0: it is the time in which a weight "
            "halves."
        )
    micros = F.unix_micros(now) - F.unix_micros(event_time)
    days = F.greatest(micros, F.lit(0)) / F.lit(1e6 * _DAY)
    decayed = F.pow(F.lit(0.5), days / F.lit(half_life_days))
    return F.when(event_time.isNotNull() & now.isNotNull(), decayed)


def log_weight(count: Column, scale: float = 1.0) -> Column:
    """`log(1 + count / scale)`: each repetition adds less than the one before."""
    if not scale > 0:
        raise ParameterError(f"scale={scale} must be above 0: this count has the weight log 2.")
    return F.log1p(count / F.lit(scale))
