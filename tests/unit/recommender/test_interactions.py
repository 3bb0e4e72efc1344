"""What is refused, and what a caller is told to do about it."""

from typing import cast

import pytest
from pyspark.sql import DataFrame

from matchlake.errors import InputError
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import Counts, refuse_repeated
from matchlake.recommender.interactions import validate


def test_advice_names_the_algorithm_whose_parameter_it_is() -> None:
    counts = Counts(rows=2, invalid=0, users=1, items=2, mean=3.0, minimum=3.0, maximum=3.0)
    with pytest.raises(InputError, match="fit als with feedback='implicit'"):
        validate(counts, cast("DataFrame", None), InteractionSpec())
    with pytest.raises(InputError, match="Keep one row per pair; for als, duplicates="):
        refuse_repeated([("a", "x")])
