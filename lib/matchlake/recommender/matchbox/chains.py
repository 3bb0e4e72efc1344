"""Runs several chains over the same ratings, and pools their samples."""

import numpy as np

from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.posterior import MeanFeatures, Posterior
from matchlake.recommender.matchbox.report import Trace
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs, Sample
from matchlake.recommender.matchbox.sampler.history_features import mean_feature_row
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import Ratings


def run_chains(
    ratings: Ratings,
    features: tuple[Features | None, ...],
    params: MatchboxParams,
    histories: tuple[int, int] = (0, 0),
) -> tuple[Posterior, Trace]:
    """Runs `params.chains` chains one after another; each draws an equal share of the samples.

    `histories` has the number of history features of users, and that of items. History features
    are the last columns of a feature matrix.
    """
    share, sizes = -(-params.samples // params.chains), ratings.sizes[:2]
    each = params.model_copy(update={"samples": share})
    samples: list[Sample] = []
    traces: list[list[dict[str, float]]] = []
    for chain in range(params.chains):
        gibbs = Gibbs(ratings, features, each, chain)
        samples += gibbs.samples()
        traces.append(gibbs.trace)
    names = traces[0][0]
    trace = {name: np.array([[facts[name] for facts in one] for one in traces]) for name in names}
    posterior = Posterior.of(samples, gibbs.response.mean, gibbs.response.levels)
    counts = [np.bincount(ratings.places[:, side], minlength=n) for side, n in enumerate(sizes)]
    mean_features = [
        MeanFeatures(
            np.zeros(0, np.float32) if of is None else mean_feature_row(of.rows, n), history
        )
        for of, n, history in zip(features, counts, histories, strict=False)
    ]
    return posterior.with_cold(counts, mean_features), trace
