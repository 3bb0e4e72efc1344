"""Linear models and k-means of scikit-learn as heads."""

from typing import Any

import numpy as np

from matchlake.formulas.heads import CentroidsHead, LinearHead
from matchlake.learners.protocol import TrainingData


def linear_head(model: Any, data: TrainingData, labels: tuple[str, ...] | None) -> LinearHead:
    """The weights of a fitted linear model."""
    weights = np.atleast_2d(model.coef_)
    intercepts = np.broadcast_to(np.ravel(model.intercept_), len(weights))
    if labels is not None:
        link = "logit" if len(weights) == 1 else "softmax"
    else:
        link = "exp" if type(model).__name__ == "PoissonRegressor" else "identity"
    return LinearHead.model_validate(
        {
            "columns": data.columns,
            "labels": labels,
            "link": link,
            "weights": tuple(map(tuple, weights.tolist())),
            "intercepts": tuple(intercepts.tolist()),
        }
    )


def centroids_head(model: Any, data: TrainingData, labels: tuple[str, ...] | None) -> CentroidsHead:
    """The centres of a fitted k-means."""
    del labels
    centers = np.asarray(model.cluster_centers_, np.float64)
    return CentroidsHead(columns=data.columns, centers=tuple(map(tuple, centers.tolist())))
