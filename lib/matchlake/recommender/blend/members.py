"""Fits the models of a blend through the registry."""

from typing import Any

from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.protocol import FitContext, TrainingInputs


def fit_members(
    inputs: TrainingInputs, params: BlendParams, checkpoint: Checkpointer
) -> dict[str, Any]:
    """Fits all models to the same interactions."""
    context, models = FitContext(checkpoint), {}
    for name, own in params.members.items():
        algorithm = algorithm_of(name)
        models[name] = algorithm.resolve(algorithm.fit)(inputs, own, context)
    return models
