"""The signature of a scoring model, with which a server checks requests."""

from typing import Any, Literal

from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.fitted_number import FittedNumber
from matchlake.features.model import FeatureModel
from matchlake.formulas.heads import HeadOutput
from matchlake.model_store.served_signature import (
    ScoringSignature,
    ServedColumn,
    ServedOutput,
    merged,
)


def scoring_signature(
    name: str, task: str, features: FeatureModel, outputs: list[HeadOutput]
) -> ScoringSignature:
    """Returns the inputs and outputs of a scoring model."""
    return ScoringSignature(
        name=name,
        task=task,
        columns=merged(_column(fitted) for fitted in features.features),
        keys=features.keys,
        outputs=tuple(ServedOutput(name=each.name, type=each.type) for each in outputs),
    )


def _column(fitted: Any) -> ServedColumn:
    refuses: list[Literal["null", "unknown"]] = []
    if fitted.feature.handle_null == "error":
        refuses.append("null")
    if isinstance(fitted, FittedCategories) and fitted.feature.handle_unknown == "error":
        refuses.append("unknown")
    return ServedColumn(
        name=fitted.column,
        type=fitted.type,
        number=isinstance(fitted, FittedNumber),
        text=isinstance(fitted, FittedCategories),
        refuses=tuple(refuses),
    )
