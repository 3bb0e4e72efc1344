"""The metrics anew, in plain NumPy, one user at a time and written from their definitions."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

Truth = Sequence[tuple[str, float | None]]
Scored = Sequence[tuple[str, float | None]]


def ranked(scored: Scored) -> list[str]:
    """Best first: score from high to low, null and NaN last, ties by id, each item once."""

    def place(entry: tuple[str, float | None]) -> tuple[float, str]:
        item, score = entry
        return (math.inf if score is None or math.isnan(score) else -score, item)

    return list(dict.fromkeys(item for item, _ in sorted(scored, key=place)))


def highest(truth: Truth) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for item, value in truth:
        known = values.get(item)
        values[item] = value if known is None else known if value is None else max(known, value)
    return values


def gains(values: Mapping[str, float | None], gain: str, start: float | None) -> dict[str, float]:
    formula = {
        "binary": lambda value: float(start is None or value >= start),
        "linear": lambda value: max(value, 0.0),
        "exponential": lambda value: max(2.0**value - 1, 0.0),
    }[gain]
    return {
        item: (1.0 if gain == "binary" and start is None else 0.0)
        if value is None
        else formula(value)
        for item, value in values.items()
    }


def ranking(
    scored: Scored, truth: Truth, k: int, *, gain: str = "binary", start: float | None = None
) -> dict[str, float | None]:
    """All ranking metrics of one user at one k; None where there is nothing to judge by."""
    values = highest(truth)
    relevant = {
        item
        for item, value in values.items()
        if start is None or (value is not None and value >= start)
    }
    top = ranked(scored)[:k]
    hit = np.array([item in relevant for item in top] + [False] * (k - len(top)))
    metrics: dict[str, float | None] = dict.fromkeys(
        ("precision", "recall", "hit_rate", "map", "mrr")
    )
    if relevant:
        precision_at = np.cumsum(hit) / np.arange(1, k + 1)
        metrics["precision"] = float(hit.mean())
        metrics["recall"] = hit.sum() / len(relevant)
        metrics["hit_rate"] = float(hit.any())
        metrics["map"] = float((precision_at * hit).sum() / min(k, len(relevant)))
        metrics["mrr"] = 1 / (int(hit.argmax()) + 1) if hit.any() else 0.0
    gained = gains(values, gain, start)
    discount = 1 / np.log2(np.arange(2, k + 2))
    dcg = sum(gained.get(item, 0.0) * weight for item, weight in zip(top, discount, strict=False))
    ideal = sum(
        value * weight
        for value, weight in zip(sorted(gained.values(), reverse=True), discount, strict=False)
    )
    metrics["ndcg"] = dcg / ideal if ideal > 0 else None
    return metrics


def rating(pairs: Sequence[tuple[float | None, float | None]]) -> tuple[float, float, int]:
    """RMSE, MAE and the number of (rating, score) pairs that have both."""
    known = np.array([(r, s) for r, s in pairs if r is not None and s is not None])
    if len(known) == 0:
        return math.nan, math.nan, 0
    errors = known[:, 1] - known[:, 0]
    return float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors))), len(known)


def diversity(vectors: Sequence[np.ndarray]) -> float | None:
    """Mean over pairs of 1 - cosine, pair by pair."""
    distances = []
    for i, left in enumerate(vectors):
        for right in vectors[i + 1 :]:
            lengths = np.linalg.norm(left) * np.linalg.norm(right)
            distances.append(1 - (left @ right / lengths if lengths > 0 else 0.0))
    return float(np.mean(distances)) if distances else None
