"""What every declared feature is: an encoder of one column, its options, and its request."""

import re
from typing import ClassVar

from matchlake.features.requests import Request
from matchlake.params import Params


class Encoder(Params):
    """An encoder or scaler of one column, as conf or Python declares it.

    A kind of encoder brings the types it takes, the statistics it needs, and a fitted form that
    learns from these statistics (`FittedFeature.learn`).
    """

    column: str | None = None
    """The column that the feature reads; by default the column with the feature's own name."""

    form: ClassVar[str]
    """The fitted form of the encoder, a key of `kinds.FITTED`."""
    takes: ClassVar[str]
    """The column types that the encoder takes, in words for messages."""
    type_pattern: ClassVar[re.Pattern[str]]
    """The column types that the encoder takes, as Spark names them."""

    def accepts(self, type_name: str) -> bool:
        """Whether the encoder takes a column of this type, as Spark names it."""
        return self.type_pattern.fullmatch(type_name) is not None

    def request(self, column: str, known: tuple[str, ...]) -> Request:
        """The statistics that the fit needs of `column`.

        `known` are the categories of an earlier fit, which keep their columns.
        """
        raise NotImplementedError

    def fixed_names(self, name: str) -> tuple[str, ...]:
        """The output columns of a feature `name` that have the same names at every fit."""
        raise NotImplementedError
