"""The kept samples of a fit as arrays, and what they predict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats, Ints, Positions
from matchlake.engine.packing import Array
from matchlake.recommender.matchbox.prediction import Predictor, user_spread
from matchlake.recommender.matchbox.sampler.gibbs import Sample
from matchlake.recommender.matchbox.sampler.kernels import Matrix
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import ITEM, USER, stack_offsets


@dataclass(frozen=True)
class SidePosterior:
    """One side's samples: `rows` (rows, samples, columns), the bias last, and its priors.

    `means` (samples, columns), `precisions` (samples, columns, columns), `links` (samples,
    features, columns), `scales` (samples, sources); `bare` (samples, columns) is what is added to
    the prior mean of a row without ratings, and `cold_share` how much more than that of the prior
    its variance is; `average` (samples, columns) is the row of which nothing is known, see `Cold`.
    """

    rows: Floats
    means: Matrix
    precisions: Matrix
    links: Matrix
    scales: Matrix
    bare: Matrix
    cold_share: float = 1.0
    average: Matrix | None = None

    @cached_property
    def design_roots(self) -> Matrix:
        """Of each sample columns whose sum of outer products is that of all [factors, 1].

        (samples, columns, columns), a root in each row: what a rating of the other side meets.
        """
        samples, columns = self.means.shape
        roots = np.empty((samples, columns, columns))
        for number in range(samples):
            design = self.rows[:, number].astype(np.float64)
            design[:, -1] = 1.0
            values, vectors = np.linalg.eigh(design.T @ design)
            roots[number] = (vectors * np.sqrt(np.maximum(values, 0.0))).T
        return roots

    def prior_rows(self, features: Features | None, count: int) -> Floats:
        """Prior means of `count` rows in every sample: what stands for rows without ratings."""
        samples, columns = self.means.shape
        out = np.empty((count, samples, columns), np.float32)
        for number in range(samples):
            out[:, number] = self.means[number] + self.bare[number]
            if features is not None:
                out[:, number] += features.times(self.links[number])
        return out


class Usual(NamedTuple):
    """A side's `usual_features`, and how many of them, the last ones, are history."""

    features: Floats
    history: int


@dataclass(frozen=True)
class Posterior:
    """All kept samples; `levels` are None where a rating is a number.

    `response` stacks what the samples' responses hold: `users` (samples, users, width), and
    `variance` (samples,) or `base` (samples,) and `shared` (samples, levels - 1).
    """

    mean: float
    sides: tuple[SidePosterior, ...]
    response: dict[str, npt.NDArray[Any]]
    levels: Matrix | None = None

    @staticmethod
    def of(samples: Iterable[Sample], mean: float, levels: Matrix | None) -> "Posterior":
        """The samples side by side."""
        kept = list(samples)
        sides = tuple(_gather(kept, side) for side in range(len(kept[0].rows)))
        response = {
            name: np.stack([sample.response[name] for sample in kept]) for name in kept[0].response
        }
        return Posterior(mean, sides, response, levels)

    def with_cold(self, counts: Sequence[Ints], usual: Sequence[Usual]) -> "Posterior":
        """With what rows without ratings have, given how many ratings users and items have."""
        averages = [Averages.of(self.sides[side].rows, counts[side]) for side in (USER, ITEM)]
        settled = []
        for number in (USER, ITEM):
            side = self.sides[number]
            priors = side.means, side.precisions, side.links
            both = averages[number], averages[1 - number]
            cold = Cold.of(priors, usual[number], both, numbers=self.levels is None)
            settled.append(
                replace(side, bare=cold.bare, average=cold.average, cold_share=cold.share)
            )
        return replace(self, sides=(*settled, *self.sides[len(settled) :]))

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.sides[0].means)

    def user_response(self) -> Floats:
        """What the response knows of each user: (users, samples, width)."""
        return np.ascontiguousarray(self.response["users"].transpose(1, 0, 2), np.float32)

    def shared(self) -> dict[str, npt.NDArray[Any]]:
        """All that is not a row, by name."""
        sizes = np.array([len(side.rows) for side in self.sides])
        arrays: dict[str, npt.NDArray[Any]] = {"mean": np.array(self.mean), "sizes": sizes}
        arrays |= {name: array for name, array in self.response.items() if name != "users"}
        if self.levels is not None:
            arrays["levels"] = self.levels
        for number, side in enumerate(self.sides):
            arrays |= {
                f"average_{number}": side.rows.mean(axis=0, dtype=np.float64)
                if side.average is None
                else side.average,
                f"means_{number}": side.means,
                f"precisions_{number}": side.precisions,
                f"links_{number}": side.links.astype(np.float32),
                f"scales_{number}": side.scales,
                f"bare_{number}": side.bare,
                f"cold_share_{number}": np.array(side.cold_share),
            }
        return arrays

    def predictor(self) -> Predictor:
        """What predicts for trained rows; places count the rows of all sides one after another."""
        rows = np.concatenate([side.rows for side in self.sides])
        precisions = np.stack([side.precisions for side in self.sides])
        return Predictor(
            mean=self.mean,
            rows=rows,
            prior_share=np.zeros(len(rows), np.float32),
            covariances=np.linalg.inv(precisions).astype(np.float32),
            response=user_spread(self.user_response(), self.response.get("base")),
            levels=self.levels,
        )

    def stacked(self, places: Positions) -> Positions:
        """Places (pairs, sides) that count each side's rows by themselves, for `predictor`."""
        offsets = stack_offsets([len(side.rows) for side in self.sides])[:-1]
        return (places + offsets).astype(np.int32)


def factors_of(rows: Floats) -> Floats:
    """All samples' factors (rows, samples * rank), over the root of the samples.

    Dot products of them are the mean of the samples' dot products.
    """
    count, samples, columns = rows.shape
    factors: Floats = rows[:, :, :-1] / np.float32(np.sqrt(samples))
    return np.ascontiguousarray(factors.reshape(count, samples * (columns - 1)))


def compact_row(
    report: Mapping[str, Array], side: int, samples: Floats | None = None
) -> tuple[Floats, float]:
    """What a row of `side` is ranked by: few factors, and the mean bias.

    `samples` (samples, columns) are the row's own; those of the average row, which an unknown id
    is, where they are not given.
    """
    row = np.asarray(report[f"average_{side}"] if samples is None else samples, np.float32)
    few = report["compact_users" if side == USER else "compact_items"]
    return (factors_of(row[None]) @ few)[0], float(row[:, -1].mean())


class Averages(NamedTuple):
    """Means over all ratings of one side's rows."""

    mean: Matrix
    """(samples, columns)"""
    square: Matrix
    """Of their outer products, (samples, columns, columns)."""

    @staticmethod
    def of(rows: Floats, counts: Ints) -> "Averages":
        """Of rows (rows, samples, columns) that have so many ratings."""
        total = weighted_sums(rows, counts)
        return Averages(*(part / counts.sum() for part in total))


def weighted_sums(rows: Floats, counts: Ints) -> tuple[Matrix, Matrix]:
    """What `Averages` are of, summed."""
    means, squares = [], []
    for number in range(rows.shape[1]):
        exact = rows[:, number].astype(np.float64)
        weighted = exact * counts[:, None]
        means.append(weighted.sum(axis=0))
        squares.append(weighted.T @ exact)
    return np.stack(means), np.stack(squares)


class Cold(NamedTuple):
    """What is known of a side's rows without ratings, in each sample: (samples, columns) each."""

    bare: Matrix
    """What is added to their prior means: the part of a usual history, and a bias."""
    average: Matrix
    """The row of which nothing is known: it has the usual features."""
    share: float
    """How much more than that of the prior their variance is: 1 without a history."""

    @staticmethod
    def of(
        priors: tuple[Matrix, Matrix, Matrix],
        usual: Usual,
        averages: tuple[Averages, Averages],
        *,
        numbers: bool,
    ) -> "Cold":
        """From a side's prior means, precisions and links, and the averages of it and the other.

        Where ratings are `numbers` the bias is moved so that the average row's scores are 0 on
        average over all ratings, as those of ratings are: rows that are rated are better liked than
        they would be by chance, and more so those rated much.
        """
        means, precisions, links = priors
        own, other = averages
        known = usual.features.astype(np.float64)
        first = len(known) - usual.history
        bare = np.asarray(known[first:] @ links[:, first:])
        average = means + known[:first] @ links[:, :first] + bare
        if numbers:
            scores = np.sum(average[:, :-1] * other.mean[:, :-1], axis=1)
            moved = scores + average[:, -1] + other.mean[:, -1]
            bare[:, -1] -= moved
            average[:, -1] -= moved
        share = _cold_share(own, other, precisions) if usual.history else 1.0
        return Cold(bare, average, share)


def _cold_share(side: Averages, other: Averages, precisions: Matrix) -> float:
    """Variance of scores of rows without history, over that of rows around their prior means."""
    design = other.square.copy()
    design[:, -1], design[:, :, -1] = other.mean, other.mean
    design[:, -1, -1] = 1.0
    spread = side.square - side.mean[:, :, None] * side.mean[:, None, :]
    both = (np.sum(part * design) for part in (spread, np.linalg.inv(precisions)))
    return max(1.0, float(next(both) / next(both)))


def priors_of(report: Mapping[str, Array], side: int) -> Iterator[Any]:
    """What a `SidePosterior` has beside its rows."""
    for name in ("means", "precisions", "links", "scales"):
        yield report[f"{name}_{side}"]
    yield report.get(f"bare_{side}", np.zeros_like(report[f"means_{side}"]))
    yield float(report.get(f"cold_share_{side}", 1.0))


def _gather(samples: list[Sample], side: int) -> SidePosterior:
    priors = [sample.priors[side] for sample in samples]
    means = np.stack([prior.mean for prior in priors])
    return SidePosterior(
        np.stack([sample.rows[side] for sample in samples], axis=1),
        means,
        np.stack([prior.precision for prior in priors]),
        np.stack([prior.links for prior in priors]),
        np.stack([prior.scales for prior in priors]),
        np.zeros_like(means),
    )
