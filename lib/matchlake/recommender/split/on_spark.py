"""The kind of split that the parameters name, on a Spark frame."""

from pyspark.sql import DataFrame

from matchlake.recommender.split.drawn import split_cold_items, split_cold_users, split_random
from matchlake.recommender.split.mixed import split_recommender
from matchlake.recommender.split.params import SplitParams
from matchlake.recommender.split.result import Split
from matchlake.recommender.split.timed import (
    split_from,
    split_last_n,
    split_time,
    split_user_time,
)

_BY_SHARE = {
    "random": split_random,
    "user_time": split_user_time,
    "cold_users": split_cold_users,
    "cold_items": split_cold_items,
}


def split_frame(interactions: DataFrame, params: SplitParams) -> Split:
    """Implements `split` on a Spark frame; starts no Spark job."""
    if params.kind in _BY_SHARE:
        return _BY_SHARE[params.kind](interactions, params.test_fraction, seed=params.seed)
    if params.kind == "last_n":
        return split_last_n(interactions, params.last_n, seed=params.seed)
    if params.kind == "recommender":
        return split_recommender(interactions, params)
    if params.cutoff is not None:
        return split_from(interactions, params.cutoff)
    return split_time(interactions, params.test_fraction)
