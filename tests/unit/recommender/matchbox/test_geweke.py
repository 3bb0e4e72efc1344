"""Joint tests after Geweke (2004): a Gibbs sweep must leave the joint of state and data alone.

States drawn from the prior, with data drawn from them, are exact draws from the joint. Some sweeps
of the chain, each followed by new data, must not change the distribution of anything: two-sample
Kolmogorov-Smirnov tests on many independent runs compare start and end.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from tests.support.matchbox_cases import random_places, sparse, with_values

from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler import prior as prior_module
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs
from matchlake.recommender.matchbox.sampler.link_matrix import (
    MEAN_STRENGTH,
    Features,
    Iterative,
    LinkSolver,
    Source,
    Spectra,
)
from matchlake.recommender.matchbox.sampler.noise import SHAPE_PRIOR, Noise
from matchlake.recommender.matchbox.sampler.ordinal import edges_of
from matchlake.recommender.matchbox.sampler.prior import Moments, Prior, draw_prior
from matchlake.recommender.matchbox.sampler.ratings import Ratings

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]
Chance = np.random.Generator

ALARM = 1e-4
"""A p-value below this is a fault; there are a few dozen of them in all."""


def forward_prior(
    columns: int, widths: tuple[int, ...], x: Array, chance: Chance
) -> tuple[Prior, Array]:
    root = chance.standard_normal((columns, columns))  # Wishart(I, columns)
    precision = root @ root.T
    half = np.linalg.inv(root)  # half' half = precision^-1
    scales = chance.gamma(0.5, size=len(widths)) / 0.5
    mean = chance.standard_normal(columns) @ half / np.sqrt(2.0)
    each = np.repeat(scales, widths)[:, None]
    links = chance.standard_normal((sum(widths), columns)) @ half / np.sqrt(each)
    means = x @ links
    total = means.sum(axis=0)
    scatter = means.T @ means - np.outer(total, total) / (len(x) + MEAN_STRENGTH)
    return Prior(mean, precision, links, scales, scatter), half


def forward_rows(prior: Prior, half: Array, x: Array, chance: Chance) -> Array:
    return prior.mean + x @ prior.links + chance.standard_normal((len(x), len(half))) @ half


def prior_facts(prior: Prior, rows: Array, x: Array, widths: tuple[int, ...]) -> list[float]:
    """Plain values, and forms whose distribution no other parameter blurs: the test's power."""

    def energy(vectors: Array) -> float:
        return float(np.einsum("nk,kl,nl->", vectors, prior.precision, vectors))

    facts = [*np.log(np.diag(prior.precision)), np.linalg.slogdet(prior.precision)[1]]
    facts += [prior.precision[0, -1], *prior.mean, rows[0, 0], np.log(np.mean(rows**2))]
    away = rows - prior.mean - x @ prior.links
    facts += [energy(away), energy(away[:1]), energy(prior.mean[None])]
    parts = np.split(prior.links, np.cumsum(widths)[:-1]) if widths else []
    for scale, links in zip(prior.scales, parts, strict=True):
        facts += [np.log(scale), scale * energy(links), energy(links)]
    return [*facts, energy(x @ prior.links)] if parts else facts


def decomposed(features: Features) -> LinkSolver:
    return Spectra.of(features.gram(), features.sums(), features.rows.rows, features.widths)


def prior_runs(
    draw: Callable[..., Prior],
    solver: Callable[[Features], LinkSolver] = decomposed,
    count: int = 1500,
    sweeps: int = 3,
) -> float:
    chance = np.random.default_rng(7)
    x = np.where(chance.random((6, 4)) < 0.5, 1.0, 0.0)
    widths = (1, 3)
    features = Features(sparse(x), 1, (Source("one", 1), Source("three", 3)))
    links = solver(features)
    begin, end = [], []
    for run in range(2 * count):
        prior, half = forward_prior(3, widths, x, chance)
        rows = forward_rows(prior, half, x, chance)
        if run % 2:
            begin.append(prior_facts(prior, rows, x, widths))
            continue
        for _ in range(sweeps):
            prior = draw(Moments.of(rows, features), links, prior, chance)
            half = np.linalg.inv(np.linalg.cholesky(prior.precision))
            rows = forward_rows(prior, half, x, chance)
        end.append(prior_facts(prior, rows, x, widths))
    return smallest_p(begin, end)


def smallest_p(begin: list[list[float]], end: list[list[float]]) -> float:
    pairs = zip(np.array(begin).T, np.array(end).T, strict=True)
    return min(stats.ks_2samp(a, b).pvalue for a, b in pairs)


@pytest.mark.parametrize("solver", [decomposed, Iterative.of])
def test_prior_draws_leave_their_joint_alone(solver: Callable[[Features], LinkSolver]) -> None:
    assert prior_runs(draw_prior, solver) > ALARM


@pytest.mark.soak
def test_the_links_left_out_of_the_precision_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wishart = prior_module.draw_wishart

    def without_links(moments: Moments, solver: LinkSolver, last: Prior, chance: Chance) -> Prior:
        def wrong(spread: Array, freedom: float, chance: Chance) -> tuple[Array, Array]:
            links, each = last.links, np.repeat(last.scales, solver.widths)[:, None]
            return wishart(spread - links.T @ (each * links), freedom - len(links), chance)

        monkeypatch.setattr(prior_module, "draw_wishart", wrong)
        return draw_prior(moments, solver, last, chance)

    assert prior_runs(without_links) < ALARM


@pytest.mark.soak
def test_sources_drawn_as_if_they_had_one_scale_are_found() -> None:
    def with_one_scale(moments: Moments, solver: LinkSolver, last: Prior, chance: Chance) -> Prior:
        same = replace(last, scales=np.full(len(last.scales), last.scales.mean()))
        return draw_prior(moments, solver, same, chance)

    assert prior_runs(with_one_scale) < ALARM


WIDTHS = (1, 1)
"""Sources of the users' features of a tiny chain; the other sides have none."""


def tiny(sizes: tuple[int, ...], kind: str, seed: int = 3) -> tuple[Gibbs, Array, Places]:
    """A chain over few ratings, whose state and data the test overwrites."""
    chance = np.random.default_rng(seed)
    places = random_places(sizes, 14, seed)
    ordinal = kind == "ordinal"
    values = np.arange(14) % 4 if ordinal else chance.normal(0, 1, 14)
    x = np.where(chance.random((sizes[0], 2)) < 0.5, 1.0, 0.0)
    ratings = Ratings(places, values.astype(np.float32), sizes)
    noise = "global" if kind == "shared" else "per_user"
    params = MatchboxParams(rank=2, threads=1, ordinal=ordinal, noise_variance=noise)
    given = Features(sparse(x), 1, (Source("first", 1), Source("second", 1)))
    features = (given, *[None] * (len(sizes) - 1))
    return Gibbs(ratings, features, params), x, places


def put_forward_state(gibbs: Gibbs, x: Array, chance: Chance) -> None:
    for number, side in enumerate(gibbs.sides):
        features = x if number == 0 else np.zeros((len(side.rows), 0))
        prior, half = forward_prior(3, WIDTHS[: 2 * (number == 0)], features, chance)
        gibbs.state.priors[number] = prior
        side.rows[:, :3] = forward_rows(prior, half, features, chance)
    response = gibbs.response
    if gibbs.params.ordinal:
        nothing = np.zeros((len(x), 0))
        prior, half = forward_prior(gibbs.users.shape[1], (), nothing, chance)
        gibbs.users[:] = forward_rows(prior, half, nothing, chance)
        gibbs.response = replace(response, prior=prior)
    elif gibbs.params.noise_variance == "global":
        gibbs.users[:] = chance.gamma(1.0)
    else:
        shape = chance.gamma(SHAPE_PRIOR[0]) / SHAPE_PRIOR[1]
        noise = Noise(shape, chance.gamma(1.0))
        gibbs.users[:, 0] = chance.gamma(shape, 1 / noise.rate, len(x))
        gibbs.response = replace(response, noise=noise)


def scores_of(gibbs: Gibbs, places: Places) -> Array:
    rows = [side.rows[places[:, n], :3].astype(float) for n, side in enumerate(gibbs.sides)]
    scores = sum(row[:, 2] for row in rows)
    for n, row in enumerate(rows):
        scores = scores + sum((row[:, :2] * other[:, :2]).sum(axis=1) for other in rows[:n])
    return scores


def put_new_data(gibbs: Gibbs, places: Places, chance: Chance) -> None:
    scores = scores_of(gibbs, places)
    drawn = chance.standard_normal(len(places))
    if gibbs.params.ordinal:
        edges = edges_of(gibbs.users, gibbs.response.base)[places[:, 0]]
        with_values(gibbs, (edges[:, 1:-1] < (scores + drawn)[:, None]).sum(axis=1))
    else:
        with_values(gibbs, scores + drawn / np.sqrt(gibbs.users[places[:, 0], 0]))


def facts(gibbs: Gibbs, x: Array, places: Places) -> list[float]:
    found = []
    for side, prior in zip(gibbs.sides, gibbs.state.priors, strict=True):
        features = x if side.number == 0 else np.zeros((len(side.rows), 0))
        widths = WIDTHS[: len(prior.scales)]
        found += prior_facts(prior, side.rows[:, :3].astype(float), features, widths)
    response, scores = gibbs.response, scores_of(gibbs, places)
    values, users = np.empty(len(places)), places[:, 0]
    values[gibbs.sides[0].sorted.order] = gibbs.sides[0].sorted.values
    if gibbs.params.ordinal:
        prior, gaps = response.prior, gibbs.users
        found += [*prior.mean, *gaps[0], prior.precision[0, 0]]
        away = gaps - prior.mean
        found += [np.einsum("nk,kl,nl->", away, prior.precision, away)]
        codes = values.astype(int)
        edges = edges_of(gaps, response.base)
        low, high = edges[users, codes], edges[users, codes + 1]
        below, above = stats.norm.cdf(low - scores), stats.norm.cdf(high - scores)
        return [*found, *(above - below), below.mean()]
    noise, precisions = response.noise, gibbs.users[:, 0].astype(float)
    missed = np.bincount(users, precisions[users] * (values - scores) ** 2)
    found += [np.log(precisions[0]), missed.sum(), *missed]
    if gibbs.params.noise_variance == "global":
        return found
    found += [noise.shape, noise.rate]
    return [*found, *stats.gamma.cdf(precisions * noise.rate, noise.shape)]


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        ((4, 5), "user"),
        pytest.param((4, 5), "shared", marks=pytest.mark.soak),
        pytest.param((3, 3, 3), "user", marks=pytest.mark.soak),
        pytest.param((4, 5), "ordinal", marks=pytest.mark.soak),
    ],
)
def test_sweeps_leave_the_joint_of_model_and_ratings_alone(
    sizes: tuple[int, ...], kind: str
) -> None:
    gibbs, x, places = tiny(sizes, kind)
    chance = np.random.default_rng(11)
    begin, end = [], []
    for run in range(2000):
        put_forward_state(gibbs, x, chance)
        put_new_data(gibbs, places, chance)
        if run % 2:
            begin.append(facts(gibbs, x, places))
            continue
        gibbs.sweep()
        put_new_data(gibbs, places, chance)
        gibbs.sweep()
        end.append(facts(gibbs, x, places))
    assert smallest_p(begin, end) > ALARM
