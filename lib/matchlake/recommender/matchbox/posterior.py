"""The samples of a fit as arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats, Ints, Positions
from matchlake.recommender.matchbox.low_rank import Projections
from matchlake.recommender.matchbox.prediction import Predictor, user_spread
from matchlake.recommender.matchbox.report import PosteriorReport, SideReport, Trace
from matchlake.recommender.matchbox.sampler.gibbs import Sample
from matchlake.recommender.matchbox.sampler.kernels import Matrix
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import DAY, stack_offsets
from matchlake.recommender.sides import ITEM, USER


@dataclass(frozen=True)
class SidePosterior:
    """The samples of one side: `rows` (rows, samples, columns), with the bias last.

    The other fields are the priors, as in `SideReport`.
    """

    rows: Floats
    means: Matrix
    precisions: Matrix
    links: Matrix | Floats
    scales: Matrix
    baseline_shift: Matrix
    cold_share: float = 1.0
    average: Matrix | None = None

    @cached_property
    def design_roots(self) -> Matrix:
        """Returns, per sample, vectors with the same sum of outer products as all [factors, 1].

        Shape (samples, columns, columns), one vector per row.
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
        """Prior means of `count` rows without ratings, in every sample."""
        samples, columns = self.means.shape
        out = np.empty((count, samples, columns), np.float32)
        for number in range(samples):
            out[:, number] = self.means[number] + self.baseline_shift[number]
            if features is not None:
                out[:, number] += features.times(self.links[number])
        return out


class MeanFeatures(NamedTuple):
    """The mean features of a side, and the number of history features, which come last."""

    features: Floats
    history: int


@dataclass(frozen=True)
class Posterior:
    """All samples; `levels` are None for ratings that are numbers.

    `response` has the likelihoods of the samples: `users` (samples, users, width), and
    `variance` (samples,) or `base` (samples,) and `shared` (samples, levels - 1).
    """

    mean: float
    sides: tuple[SidePosterior, ...]
    response: dict[str, npt.NDArray[Any]]
    levels: Matrix | None = None

    @staticmethod
    def of(samples: Iterable[Sample], mean: float, levels: Matrix | None) -> "Posterior":
        """Stacks the samples."""
        retained = list(samples)
        sides = tuple(_gather(retained, side) for side in range(len(retained[0].rows)))
        response = {
            name: np.stack([sample.response[name] for sample in retained])
            for name in retained[0].response
        }
        return Posterior(mean, sides, response, levels)

    def with_cold(
        self, counts: Sequence[Ints], mean_features: Sequence[MeanFeatures]
    ) -> "Posterior":
        """Adds the prior of rows without ratings, from the ratings per user and per item."""
        averages = [Averages.of(self.sides[side].rows, counts[side]) for side in (USER, ITEM)]
        settled = []
        for number in (USER, ITEM):
            side = self.sides[number]
            priors = side.means, side.precisions, side.links
            both = averages[number], averages[1 - number]
            cold = ColdStartPrior.of(
                priors, mean_features[number], both, numbers=self.levels is None
            )
            settled.append(
                replace(
                    side,
                    baseline_shift=cold.baseline_shift,
                    average=cold.average,
                    cold_share=cold.share,
                )
            )
        return replace(self, sides=(*settled, *self.sides[len(settled) :]))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.sides[0].means)

    def user_response(self) -> Floats:
        """Returns the users' part of the likelihood: (users, samples, width)."""
        return np.ascontiguousarray(self.response["users"].transpose(1, 0, 2), np.float32)

    def report(
        self, trace: Trace, seen: Sequence[Ints], projections: Projections
    ) -> PosteriorReport:
        """Returns everything except rows; `seen` has the rows that are history features."""
        few = (projections.users, projections.items)
        sides = []
        for number, side in enumerate(self.sides):
            average = side.rows.mean(axis=0, dtype=np.float64)
            side_report = SideReport(
                means=side.means,
                precisions=side.precisions,
                links=side.links.astype(np.float32),
                scales=side.scales,
                baseline_shift=side.baseline_shift,
                average=average if side.average is None else side.average,
                cold_share=side.cold_share,
            )
            if number != DAY:
                side_report = replace(side_report, projection=few[number], seen=seen[number])
            sides.append(side_report)
        return PosteriorReport(
            mean=self.mean,
            sizes=tuple(len(side.rows) for side in self.sides),
            sides=tuple(sides),
            variance=self.response.get("variance"),
            base=self.response.get("base"),
            shared=self.response.get("shared"),
            rating_levels=self.levels,
            trace=trace,
        )

    def predictor(self) -> Predictor:
        """Returns the predictor of trained rows.

        Indices number the rows of all sides in sequence.
        """
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

    def stacked(self, indices: Positions) -> Positions:
        """Converts positions per side (pairs, sides) to indices of `predictor`."""
        offsets = stack_offsets([len(side.rows) for side in self.sides])[:-1]
        return (indices + offsets).astype(np.int32)


def factors_of(rows: Floats) -> Floats:
    """Returns all samples' factors (rows, samples * rank), divided by sqrt(samples).

    Their dot products are the means of the samples' dot products.
    """
    count, samples, columns = rows.shape
    factors: Floats = rows[:, :, :-1] / np.float32(np.sqrt(samples))
    return np.ascontiguousarray(factors.reshape(count, samples * (columns - 1)))


def samples_of(factors: Floats, biases: Floats, shape: tuple[int, int]) -> Floats:
    """Returns rows (rows, *shape), the bias last, from values of `factors_of` and biases.

    `shape` is (samples, columns).
    """
    samples, columns = shape
    count = len(biases.ravel()) // samples
    rows = np.empty((count, samples, columns), np.float32)
    rows[:, :, :-1] = factors.reshape(count, samples, columns - 1) * np.float32(np.sqrt(samples))
    rows[:, :, -1] = biases.reshape(count, samples)
    return rows


def low_rank_row(side: SideReport, samples: Floats | None = None) -> tuple[Floats, float]:
    """Returns low-rank factors and the mean bias of a row, for rankings.

    `samples` (samples, columns) belong to the row. Without samples it returns the average row,
    which is used for unknown ids.
    """
    row = np.asarray(side.average if samples is None else samples, np.float32)
    return (factors_of(row[None]) @ side.projection)[0], float(row[:, -1].mean())


class Averages(NamedTuple):
    """Means of one side's rows, over all ratings."""

    mean: Matrix
    """Means, (samples, columns)."""
    square: Matrix
    """Means of outer products, (samples, columns, columns)."""

    @staticmethod
    def of(rows: Floats, counts: Ints) -> "Averages":
        """Computes the means of rows (rows, samples, columns) with `counts` ratings."""
        total = weighted_sums(rows, counts)
        return Averages(*(part / counts.sum() for part in total))


def weighted_sums(rows: Floats, counts: Ints) -> tuple[Matrix, Matrix]:
    """Returns the sums of rows and of their outer products, weighted by `counts`."""
    means, squares = [], []
    for number in range(rows.shape[1]):
        exact = rows[:, number].astype(np.float64)
        weighted = exact * counts[:, None]
        means.append(weighted.sum(axis=0))
        squares.append(weighted.T @ exact)
    return np.stack(means), np.stack(squares)


class ColdStartPrior(NamedTuple):
    """The prior of rows without ratings; `baseline_shift` and `average` are (samples, columns)."""

    baseline_shift: Matrix
    """The shift of the prior mean of rows without ratings: by a mean history, and a bias."""
    average: Matrix
    """The row of an unknown id, which has the mean features."""
    share: float
    """The variance of rows without ratings, relative to the prior; 1 without history features."""

    @staticmethod
    def of(
        priors: tuple[Matrix, Matrix, Matrix | Floats],
        mean_features: MeanFeatures,
        averages: tuple[Averages, Averages],
        *,
        numbers: bool,
    ) -> "ColdStartPrior":
        """Computes the prior from a side's parameters, and the averages of both sides.

        If ratings are `numbers`, the bias is shifted, so that the scores of the average row have
        the mean 0 over all ratings, like the centred ratings. Rows with ratings have better ratings
        than random rows, and the more ratings, the better.
        """
        means, precisions, links = priors
        own, other = averages
        known = mean_features.features.astype(np.float64)
        first = len(known) - mean_features.history
        baseline_shift = np.asarray(known[first:] @ links[:, first:])
        average = means + known[:first] @ links[:, :first] + baseline_shift
        if numbers:
            scores = np.sum(average[:, :-1] * other.mean[:, :-1], axis=1)
            moved = scores + average[:, -1] + other.mean[:, -1]
            baseline_shift[:, -1] -= moved
            average[:, -1] -= moved
        share = _cold_share(own, other, precisions) if mean_features.history else 1.0
        return ColdStartPrior(baseline_shift, average, share)


def _cold_share(side: Averages, other: Averages, precisions: Matrix) -> float:
    """Returns the score variance of rows without history, relative to rows with the prior's."""
    design = other.square.copy()
    design[:, -1], design[:, :, -1] = other.mean, other.mean
    design[:, -1, -1] = 1.0
    covariance = side.square - side.mean[:, :, None] * side.mean[:, None, :]
    both = (np.sum(part * design) for part in (covariance, np.linalg.inv(precisions)))
    return max(1.0, float(next(both) / next(both)))


def side_of(report: SideReport, rows: Floats) -> SidePosterior:
    """Returns one side of a report, with rows."""
    return SidePosterior(
        rows=rows,
        means=report.means,
        precisions=report.precisions,
        links=report.links,
        scales=report.scales,
        baseline_shift=report.baseline_shift,
        cold_share=report.cold_share,
    )


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
