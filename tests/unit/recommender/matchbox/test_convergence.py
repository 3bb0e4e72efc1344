"""R-hat and effective sample size against known answers."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from matchlake.recommender.matchbox.convergence import (
    Convergence,
    _normal_scores,
    measure_convergence,
    mixing_problem,
)
from matchlake.recommender.matchbox.params import MatchboxParams

CHAINS, SWEEPS = 4, 5000


def convergence_diagnostics(chains: npt.NDArray[np.float64]) -> Convergence:
    found = measure_convergence({"error": chains}, 0)
    assert [one.name for one in found] == ["error"]
    return found[0]


def draws() -> npt.NDArray[np.float64]:
    return np.random.default_rng(3).normal(size=(CHAINS, SWEEPS))


def test_independent_draws_are_as_many_as_they_are() -> None:
    found = convergence_diagnostics(draws())
    assert found.r_hat == pytest.approx(1.0, abs=0.01)
    assert found.ess == pytest.approx(CHAINS * SWEEPS, rel=0.1)


def test_correlated_draws_are_fewer() -> None:
    rho, chains = 0.9, draws()
    for sweep in range(1, SWEEPS):
        chains[:, sweep] = rho * chains[:, sweep - 1] + math.sqrt(1 - rho**2) * chains[:, sweep]
    found = convergence_diagnostics(chains)
    assert found.r_hat == pytest.approx(1.0, abs=0.02)
    assert found.ess == pytest.approx(CHAINS * SWEEPS * (1 - rho) / (1 + rho), rel=0.3)


def test_chains_apart_have_not_mixed() -> None:
    found = convergence_diagnostics(draws() + 3.0 * np.arange(CHAINS)[:, None])
    assert found.r_hat > 1.5
    assert found.ess < 20


def test_chains_that_stand_still_have_mixed_only_at_one_number() -> None:
    still = np.ones((2, 10))
    assert convergence_diagnostics(still).r_hat == 1.0
    apart = convergence_diagnostics(still * [[1.0], [2.0]])
    assert apart.r_hat == math.inf
    assert apart.ess == 4


def test_chains_that_have_not_mixed_are_named_with_what_to_raise() -> None:
    params = MatchboxParams(burn_in=80, samples=40)
    good, bad = Convergence("error", 0.8, 1.01, 90.0), Convergence("item_bias", 2.0, 1.4, 3.0)
    assert mixing_problem([good], params) is None
    assert mixing_problem([good, bad], params) == (
        "The chains have not mixed: 1 of 2 traced numbers, among them item_bias (R-hat 1.40, 3 "
        "effective samples); raise burn_in (now 80) and samples (now 40), for example to 160 and "
        "100."
    )
    slow = Convergence("error", 0.8, 1.0, 9.0)
    assert "error (R-hat 1.00, 9 effective" in str(mixing_problem([slow], params))
    stuck = Convergence("error", 0.8, math.inf, 2.0)
    assert "error (R-hat inf, 2 effective" in str(mixing_problem([bad, stuck], params))
    assert "too few sweeps to check" in str(mixing_problem([], params))


def test_heavy_tails_do_not_hide_that_independent_draws_have_mixed() -> None:
    """The variance of these draws is infinite, so that one draw would decide about R-hat."""
    tailed = np.exp(6 * draws())
    found = convergence_diagnostics(tailed)
    assert found.r_hat == pytest.approx(1.0, abs=0.01)
    assert found.ess == pytest.approx(CHAINS * SWEEPS, rel=0.1)
    assert found.mean == pytest.approx(tailed.mean())


def test_chains_that_differ_in_their_spread_alone_have_not_mixed() -> None:
    assert convergence_diagnostics(draws() * [[1.0], [1.0], [5.0], [5.0]]).r_hat > 1.1


def test_the_scores_are_those_of_blom() -> None:
    scores = _normal_scores(np.array([[3.0, 1.0, 1.0, 2.0]]))
    expected = [NormalDist().inv_cdf((rank - 0.375) / 4.25) for rank in (4, 1.5, 1.5, 3)]
    assert scores == pytest.approx(np.array([expected]))
