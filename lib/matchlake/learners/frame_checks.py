"""Checks in Spark before a fit: refuses rows that no model can learn from, with the reason."""

import math

from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.formulas.heads import Task
from matchlake.formulas.heads.links import REFUSED_IN_LABELS
from matchlake.learners.protocol import TrainingFrame
from matchlake.schemas import quote_identifier

MOST_CLASSES = 100
_SHOWN = 10


def checked_classes(rows: TrainingFrame, task: Task) -> tuple[str, ...] | None:
    """Returns the classes in the order of their names; None for numbers. At most two Spark jobs.

    Raises InputError if there are no rows, for missing, infinite or constant labels, and for more
    than MOST_CLASSES classes. It also raises it for features with missing or infinite values.
    """
    label = F.col(quote_identifier(rows.label))
    columns = [F.col(quote_identifier(name)) for name in rows.columns]
    bad = [
        F.count_if(each.isNull() | F.isnan(each) | (F.abs(each) == float("inf")))
        for each in columns
    ]
    count, known, low, high, *found = rows.frame.agg(
        F.count("*"), F.count(label), F.min(label), F.max(label), *bad
    ).collect()[0]
    if not count:
        raise InputError("There are no training rows. Check the table and the split.")
    if known < count:
        raise InputError(f"{count - known} of {count} training rows have no label.")
    wrong = [name for name, each in zip(rows.columns, found, strict=True) if each]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(
            "The estimators of pyspark.ml do not accept missing or infinite values, but these "
            f"features have some: {', '.join(wrong[:_SHOWN])}{more}. Give them another "
            "handle_null, such as median, and scale or clip them."
        )
    if task == "regression" and not all(map(math.isfinite, (low, high))):
        raise InputError("Some training rows have an infinite label. Remove these rows first.")
    if low == high:
        raise InputError(
            f"All training rows have the label {low!r}, so there is nothing to learn. Check the "
            "label and the split."
        )
    return _classes(rows) if task == "classification" else None


def _classes(rows: TrainingFrame) -> tuple[str, ...]:
    label = rows.frame.select(quote_identifier(rows.label)).distinct()
    found = sorted(str(row[0]) for row in label.limit(MOST_CLASSES + 1).collect())
    if len(found) > MOST_CLASSES:
        raise InputError(
            f"The label has more than {MOST_CLASSES} classes. Choose another label, or the task "
            "regression."
        )
    if any(mark in each for each in found for mark in REFUSED_IN_LABELS):
        raise InputError(
            "A label has the control character 0 or 1, which exports use to mark a missing label."
        )
    return tuple(found)
