"""Quality and loss of factor matrices, the same code for every side."""

import numpy as np
import numpy.typing as npt
from tests.benchmarks.peers import Outcome
from tests.benchmarks.planted import Planted

from matchlake.engine.top_k import lists_of, pack_targets, top_k


def quality(data: Planted, found: Outcome, *, explicit: bool) -> dict[str, float]:
    """RMSE of the held-out pairs, or recall at 20 and NDCG at 10 of one held-out pair a user."""
    users, items, ratings = data.validation
    if explicit:
        scores = found.mean + np.einsum("nk,nk->n", found.users[users], found.items[items])
        if found.user_bias is not None and found.item_bias is not None:
            scores += found.user_bias[users] + found.item_bias[items]
        return {"rmse": float(np.sqrt(np.mean((scores - ratings) ** 2)))}
    row_of = np.full(data.shape[0], -1, np.int64)
    row_of[users] = np.arange(len(users))
    chosen = row_of[data.users] >= 0
    seen = lists_of(row_of[data.users[chosen]], data.items[chosen], len(users), data.shape[1])
    best = top_k(found.users[users], pack_targets(found.items), 20, seen)
    hit = best.places == items[:, None]
    place = np.where(hit.any(axis=1), hit.argmax(axis=1), 20)
    gain = np.where(place < 10, 1 / np.log2(place + 2.0), 0.0)
    return {"recall@20": float((place < 20).mean()), "ndcg@10": float(gain.mean())}


def hu_koren_loss(
    data: Planted, factors: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ridge: float
) -> float:
    """Objective of Hu, Koren and Volinsky in f64: `(1 + c) (1 - s)^2` on the observed pairs, s^2 on
    all others, and `ridge` times the squared norms."""
    users, items = (side.astype(np.float64) for side in factors)
    loss = float(np.sum((users.T @ users) * (items.T @ items)))
    for start in range(0, len(data.users), 1 << 20):
        part = slice(start, start + (1 << 20))
        scores = np.einsum("nk,nk->n", users[data.users[part]], items[data.items[part]])
        confidence = 1.0 + data.strengths[part].astype(np.float64)
        loss += float(np.sum(confidence * (1 - scores) ** 2 - scores**2))
    return loss + ridge * float(np.sum(users**2) + np.sum(items**2))
