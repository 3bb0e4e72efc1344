"""Small rating problems for the Matchbox sampler, and its model drawn from the prior."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import Ratings

Array = npt.NDArray[np.float64]


def sparse(dense: Array) -> Csr:
    rows, columns = np.nonzero(dense)
    values = dense[rows, columns].astype(np.float32)
    return csr_from_pairs(rows.astype(np.int32), columns.astype(np.int32), values, dense.shape)


def random_places(sizes: tuple[int, ...], count: int, seed: int) -> npt.NDArray[np.int32]:
    """`count` distinct places."""
    chance = np.random.default_rng(seed)
    flat = chance.permutation(int(np.prod(sizes)))[:count]
    return np.stack(np.unravel_index(flat, sizes), axis=1).astype(np.int32)


@dataclass(frozen=True)
class Case:
    """Ratings whose every parameter is known, `links` mapping `x` to the users' prior means."""

    places: npt.NDArray[np.int32]
    scores: Array
    values: npt.NDArray[np.float32]
    sizes: tuple[int, ...]
    x: Array
    links: Array
    items: Array
    precisions: Array


def planted(seed: int, *, users: int = 150, items: int = 80, rank: int = 2) -> Case:
    """A case in which half of all pairs are rated."""
    chance = np.random.default_rng(seed)
    x = np.where(chance.random((users, 3)) < 0.5, 1.0, 0.0)
    links = chance.normal(0, 0.7, (3, rank + 1))
    u = 0.5 * chance.standard_normal((users, rank + 1)) + x @ links
    v = 0.8 * chance.standard_normal((items, rank + 1))
    places = random_places((users, items), users * items // 2, seed)
    precisions = chance.gamma(8.0, 1 / 4.0, users)
    a, b = u[places[:, 0]], v[places[:, 1]]
    scores = 3.0 + (a[:, :rank] * b[:, :rank]).sum(axis=1) + a[:, rank] + b[:, rank]
    noise = chance.standard_normal(len(places)) / np.sqrt(precisions[places[:, 0]])
    values = (scores + noise).astype(np.float32)
    return Case(places, scores, values, (users, items), x, links, v, precisions)


def gibbs_for(case: Case, params: MatchboxParams) -> Gibbs:
    """A chain over the case's ratings with its user features."""
    ratings = Ratings(case.places, case.values, case.sizes)
    features = (Features(sparse(case.x)), *[None] * (len(case.sizes) - 1))
    return Gibbs(ratings, features, params)


def with_values(gibbs: Gibbs, values: Array) -> None:
    """Puts other (centred) values or codes in the place of a chain's ratings."""
    for number, side in enumerate(gibbs.sides):
        sorted_ = replace(side.sorted, values=values[side.sorted.order].astype(np.float32))
        gibbs.sides[number] = replace(side, sorted=sorted_)
