"""Measures whether the chains of a fit have mixed: R-hat and effective sample sizes."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.report import Trace

_log = logging.getLogger(__name__)

_NORMAL = NormalDist()
R_HAT_LIMIT, ESS_LIMIT = 1.1, 10.0
"""A chain has not mixed if R-hat is above the first limit, or the effective samples are below the
second. With 10 effective samples, the error of a posterior mean is a third of the posterior's
standard deviation."""


@dataclass(frozen=True)
class Convergence:
    """The convergence of one traced number; `r_hat` near 1 and many effective samples are good."""

    name: str
    mean: float
    r_hat: float
    ess: float


def mixing_problem(diagnostics: Sequence[Convergence], params: MatchboxParams) -> str | None:
    """Returns why the samples of a fit are unreliable, and what to raise; None if they mixed."""
    advice = (
        f"raise burn_in (now {params.burn_in}) and samples (now {params.samples}), for example to "
        f"{2 * max(params.burn_in, 50)} and {2 * max(params.samples, 50)}"
    )
    if not diagnostics:
        return f"There are too few sweeps to check whether the chains have mixed: {advice}."
    stuck = [d for d in diagnostics if not (d.r_hat <= R_HAT_LIMIT and d.ess >= ESS_LIMIT)]
    if not stuck:
        return None
    shown = ", ".join(
        f"{d.name} (R-hat {d.r_hat:.2f}, {d.ess:.0f} effective samples)"
        for d in sorted(stuck, key=_severity)[:3]
    )
    return (
        f"The chains have not mixed: {len(stuck)} of {len(diagnostics)} traced numbers, among them "
        f"{shown}; {advice}."
    )


def note_convergence(diagnostics: Sequence[Convergence], params: MatchboxParams) -> None:
    """Logs the diagnostics of a fit, and a warning if its chains have not mixed."""
    for diagnostic in diagnostics:
        _log.info(
            "%s: mean %.4g, R-hat %.3f, %.0f effective samples",
            *(diagnostic.name, diagnostic.mean, diagnostic.r_hat, diagnostic.ess),
        )
    problem = mixing_problem(diagnostics, params)
    if problem is not None:
        _log.warning("%s", problem)


def _severity(diagnostic: Convergence) -> float:
    return -diagnostic.r_hat if math.isfinite(diagnostic.r_hat) else -math.inf


def measure_convergence(trace: Trace, burn_in: int) -> list[Convergence]:
    """Rank-normalized split R-hat and bulk effective sample size of each traced number.

    As in Vehtari et al. 2021, "Rank-normalization, folding, and localization": the draws are
    replaced by normal scores of their ranks, because the scales of links have heavy tails. R-hat is
    the maximum of two values: for the draws, and for their distances from the median.
    """
    result = []
    for name, values in trace.items():
        retained = values[:, burn_in:]
        half = retained.shape[1] // 2
        if half < 2:  # noqa: PLR2004 - no variance within fewer
            continue
        split = np.concatenate([retained[:, :half], retained[:, -half:]])
        r_hat, ess = _mixing(_normal_scores(split))
        folded, _ = _mixing(_normal_scores(np.abs(split - np.median(split))))
        result.append(Convergence(name, float(retained.mean()), max(r_hat, folded), ess))
    return result


def _normal_scores(draws: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the normal quantiles at the ranks of the draws; equal draws share a rank."""
    values, places, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    shares = (ranks - 3 / 8) / (draws.size + 1 / 4)
    scores = np.array([_NORMAL.inv_cdf(share) for share in shares])
    return scores[places].reshape(draws.shape) if len(values) > 1 else np.zeros(draws.shape)


def _mixing(chains: npt.NDArray[np.float64]) -> tuple[float, float]:
    count, length = chains.shape
    within = float(chains.var(axis=1, ddof=1).mean())
    between = float(chains.mean(axis=1).var(ddof=1))
    pooled = within * (length - 1) / length + between
    if within == 0.0:
        # constant chains have converged only if they are equal
        return (1.0, float(count * length)) if between == 0.0 else (math.inf, float(count))
    centred = chains - chains.mean(axis=1, keepdims=True)
    total = 0.0
    for lag in range(1, length - 1, 2):
        pair = sum(_correlation(centred, lag + step, (within, pooled)) for step in (0, 1))
        if pair < 0.0:
            break
        total += pair
    return float(np.sqrt(pooled / within)), count * length / (1.0 + 2.0 * total)


def _correlation(
    centred: npt.NDArray[np.float64], lag: int, variances: tuple[float, float]
) -> float:
    """Returns the autocorrelation at a lag; variance between chains counts as correlation."""
    within, pooled = variances
    length = centred.shape[1]
    covariance = float((centred[:, :-lag] * centred[:, lag:]).sum(axis=1).mean()) / length
    return float(1.0 - (within - covariance) / pooled)
