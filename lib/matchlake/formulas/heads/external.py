"""Heads for models of other frameworks, with and without an ONNX graph."""

from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from matchlake.formulas.heads.folder import PACKAGES, Folder, scorer_of
from matchlake.formulas.heads.head import Head, Matrix
from matchlake.formulas.heads.links import Link
from matchlake.formulas.numpy import rows_with_nan
from matchlake.formulas.sql import Dialect

ROWS = 8192
"""The maximum number of rows that are scored at once."""


class ExternalHead(Head):
    """A model of another framework, from the features to the scores.

    A row with a missing feature has no prediction. Such a head has no SQL.
    """

    link: Literal["identity", "exp", "logit", "softmax"] = "identity"

    @model_validator(mode="after")
    def _check_link(self) -> Self:
        count = len(self.labels or ())
        if (self.link in ("logit", "softmax") and not count) or (self.link == "exp" and count):
            raise ValueError(f"the link {self.link} does not fit {count} labels")
        if self.link == "logit" and count != 2:  # noqa: PLR2004
            raise ValueError(f"the link logit is for two labels, not {count}")
        return self

    @property
    def expected_scores(self) -> int:
        """The number of scores that the model must give."""
        return 1 if self.link in ("logit", "exp") or not self.labels else len(self.labels)

    def output_link(self) -> Link:
        """The link that the head names."""
        return self.link

    def tolerance(self) -> float:
        """The tolerance for sums in 32 bits, whose order differs between machines."""
        return 1e-6

    def sql_scores(self, dialect: Dialect) -> list[str]:
        """Raises NotImplementedError: a model of another framework has no SQL."""
        raise NotImplementedError(f"no SQL of {dialect.name}: {self.sql_limit()}")

    def scores(self, matrix: Matrix) -> Matrix:
        """The scores (rows, scores), computed for ROWS rows at a time; NaN for a missing feature.

        Raises ValueError if the model gives another number of rows or scores.
        """
        if not len(matrix):
            return np.zeros((0, self.expected_scores))
        known = np.where(np.isnan(matrix), 0.0, matrix)
        parts = [
            np.asarray(self.known_scores(known[first : first + ROWS]), np.float64)
            for first in range(0, len(matrix), ROWS)
        ]
        if sum(map(len, parts)) != len(matrix):
            raise ValueError(f"the model gives {sum(map(len, parts))} rows for {len(matrix)}")
        found = np.concatenate(parts).reshape(len(matrix), -1)
        if found.shape[1] != self.expected_scores:
            raise ValueError(
                f"the model gives {found.shape[1]} scores instead of {self.expected_scores}"
            )
        return np.where(rows_with_nan(matrix)[:, None], np.nan, found)

    def known_scores(self, matrix: Matrix) -> Matrix:
        """Returns the scores of rows without missing features, `expected_scores` per row."""
        raise NotImplementedError


class OpaqueHead(ExternalHead):
    """A model that only its framework can score, with the files of the framework.

    Spark scores it in Python workers, which need the framework. It has neither SQL nor ONNX: a
    model with an ONNX file is a `GraphHead`, and its `source` may hold the framework's files.
    """

    kind: Literal["opaque"] = "opaque"
    folder: Folder

    def size(self) -> int:
        """The bytes of the compressed files."""
        return len(self.folder.content) * 3 // 4

    def packages(self) -> tuple[str, ...]:
        """The packages that the flavor needs."""
        return PACKAGES[self.folder.flavor]

    def sql_limit(self) -> str | None:
        """Returns the reason: only the framework can score the model."""
        return f"only {self.folder.loader or self.folder.flavor} can score it"

    def onnx_limit(self) -> str | None:
        """Returns the reason: only the framework can score the model."""
        return self.sql_limit()

    def known_scores(self, matrix: Matrix) -> Matrix:
        """The scores (rows, scores) that the framework gives."""
        return np.asarray(scorer_of(self.folder)(matrix))
