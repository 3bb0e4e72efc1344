"""The files of a saved Matchbox model beyond those of a factor model; nothing here needs Spark.

The rows of users and items are those of the factor model that ranks for it, so that everything
which serves a factor model serves this one, with the samples in further columns.
"""

from pathlib import Path

from matchlake.engine.packing import Array, unpack

POSTERIOR = "posterior"
"""Folder of all that is not a row of users or items."""

DAYS = f"{POSTERIOR}/days.parquet"
REPORT = f"{POSTERIOR}/report.bin"
ENCODERS = (f"{POSTERIOR}/user_features.json", f"{POSTERIOR}/item_features.json")

SAMPLES, BIASES, RESPONSE = "sample_factors", "sample_biases", "response"
"""Columns of users and items (the last of users only)."""


def read_report(folder: Path) -> dict[str, Array]:
    """Priors, shared response, traces and the like."""
    return unpack([(folder / REPORT).read_bytes()])


def read_encoders(folder: Path) -> tuple[str | None, str | None]:
    """The JSON of each side's feature model; None where a side has no features."""
    users, items = (
        (folder / path).read_text(encoding="utf-8") if (folder / path).exists() else None
        for path in ENCODERS
    )
    return users, items
