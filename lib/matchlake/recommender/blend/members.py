"""The models of a blend, each fitted as the registry fits it."""

from typing import Any

from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.protocol import FitContext, TrainingInputs


def fit_members(
    inputs: TrainingInputs, params: BlendParams, checkpoint: Checkpointer
) -> dict[str, Any]:
    """The models, fitted to the same interactions."""
    context, models = FitContext(checkpoint), {}
    for name, own in params.members.items():
        algorithm = algorithm_of(name)
        models[name] = algorithm.resolve(algorithm.fit)(inputs, own, context)
    return models
