"""Parameters of an ALS fit that are chosen from the data.

The rule sets the scale of all terms of the objective from counts only, so it is valid for any size,
density and unit of the weights. U users and I items have N interactions; d = N / (U I) is the
density.

* Weights: `log2(1 + weight / scale)`, `scale` being the geometric mean of the positive weights. So
  a typical observed pair has the weight 1, and a change of the unit changes nothing.
* `unobserved_weight = UNOBSERVED * sqrt(d)`: between a constant weight per pair and a constant
  weight of all pairs together.
* The penalty is relative to the noise level of singular values. The first singular value
  of the matrix of interactions, each row and column divided by the root of its number of
  interactions, is 1. Those of a random matrix of the same shape are below `sqrt(U / N) + sqrt(I /
  N)`. A factor is learned only if its singular value exceeds a ratio: the penalty of a row with the
  mean number of interactions, divided by that number. This ratio is `PENALTY` times the noise
  level, at most `STRONGEST`: at 1 nothing would be learned.

`tests/benchmarks/bench_defaults.py` measures both constants on data sets that were not used to
choose them.
"""

import logging
import math

from matchlake.recommender.als.params import EXPLICIT_REGULARIZATION, AlsParams
from matchlake.recommender.interaction_stats import InteractionStats

_log = logging.getLogger(__name__)

UNOBSERVED, PENALTY, STRONGEST = 3.5, 0.7, 0.95


def resolve(params: AlsParams, stats: InteractionStats) -> AlsParams:
    """Replaces null in `params` by numbers, chosen from the size of the interactions.

    Given numbers stay, and the other numbers are chosen to fit them.
    """
    if params.feedback == "explicit":
        given = params.regularization
        return params.model_copy(
            update={"regularization": EXPLICIT_REGULARIZATION if given is None else given}
        )
    unobserved = UNOBSERVED * math.sqrt(density(stats))
    alpha, scale, level = params.alpha, params.weight_scale, 1.0
    if alpha is None:
        alpha = 1.0 / unobserved if params.objective == "hu_koren" else 1.0
        scale = stats.typical_value if scale is None else scale
    elif scale is None:
        level = stats.value_mean
    level *= alpha
    base = params.unobserved_weight
    if params.objective == "hu_koren":
        base = 1.0
    elif base is None:
        base = unobserved * level
    chosen = {"alpha": alpha, "weight_scale": scale, "unobserved_weight": base}
    if params.regularization is None:
        chosen["regularization"] = _regularization(params, stats, level, base)
    new = {name: value for name, value in chosen.items() if getattr(params, name) != value}
    if new:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in new.items() if value is not None)
        _log.info("chosen from the data: %s", shown)
    return params.model_copy(update=chosen)


def density(stats: InteractionStats) -> float:
    """The fraction of all pairs that have an interaction."""
    return min(1.0, stats.interactions / (stats.users * stats.items))


def _regularization(params: AlsParams, stats: InteractionStats, level: float, base: float) -> float:
    """Returns the penalty for weights with the mean `level`, and `base` for every pair."""
    noise = math.sqrt(stats.users / stats.interactions) + math.sqrt(
        stats.items / stats.interactions
    )
    # mean: the geometric mean of interactions per user and interactions per item
    mean = stats.interactions / math.sqrt(stats.users * stats.items)
    if params.objective == "hu_koren":
        pull, frequency = level + 1.0, mean
    else:
        pull, frequency = level, mean * (1.0 + base / density(stats))
    return min(PENALTY * noise, STRONGEST) * pull * mean / math.pow(frequency, params.nu)
