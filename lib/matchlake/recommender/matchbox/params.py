"""What a caller chooses for a Matchbox fit."""

from typing import Literal

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class MatchboxParams(FitParams):
    """Parameters of `fit_matchbox`; there is nothing to tune but `rank` and the samples.

    The model, for user u, item i and, with `dates`, the user's day t:

        rating ~ N(f, 1 / beta_u),  f = mean + b_u + c_i + e_t + p_u.q_i + p_u.d_t + q_i.d_t
        [p_u, b_u] ~ N(mu + B' x_u, Lambda^-1), likewise items (and days, without features)
        Lambda ~ Wishart(I, rank + 1),  mu | Lambda ~ N(0, (2 Lambda)^-1)
        B_s | Lambda, l_s ~ matrix normal(0, (l_s I)^-1, Lambda^-1),  l_s ~ Gamma(1/2, rate 1/2)
        beta_u ~ Gamma(a, rate b),  a ~ Gamma(3, rate 0.3),  b ~ Gamma(1, rate 1)
        or, with noise_variance="global", one beta ~ Gamma(1, rate 1) for all users

    where B_s are the rows of B of one source of features: a column, or the history. With `ordinal`,
    a latent N(f, 1) is cut in levels at thresholds of the user's own; their logarithmic gaps are
    normal with a normal-Wishart prior.
    """

    rank: int = Field(20, ge=1, le=512)
    """Columns of the factor matrices."""
    samples: int = Field(200, ge=1)
    """Posterior samples to keep; the model's factors have `samples * rank` columns."""
    burn_in: int = Field(100, ge=0)
    """Sweeps before the first kept one."""
    thinning: int = Field(2, ge=1)
    """Sweeps from one kept sample to the next."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of every random number of the fit."""
    history_features: bool = True
    """Use 'which items has this user rated' and 'who has rated this item' as features too: better
    for who has ratings, worse for who has none."""
    max_history_features: int = Field(4000, ge=1)
    """The most items (and the most users) that history features stand for: those most rated."""
    noise_variance: Literal["per_user", "global"] = "per_user"
    """Whose the noise of a rating is: its user's, or that of all. Users who rate much differ in it,
    and to know it helps; where most have few ratings one for all may predict better."""
    ordinal: bool = False
    """Predict a probability of each level of the rating, by thresholds a user, not a number."""
    day_effects: bool = False
    """Use the UTC day of `event_time`, a day of the user's own, as a third side of each rating."""
    low_rank_tolerance: float = Field(0.005, gt=0)
    """What ranks users and items is the posterior mean in few columns, which may be off by this
    much, in units of a score: root mean square over all pairs of trained users and items."""
    chains: int = Field(1, ge=1)
    """Chains that share the samples, each with a burn-in of its own: more show better whether
    they have settled, and their mean may predict better than one chain of as many sweeps."""
    execution: Literal["auto", "single_task", "distributed"] = "auto"
    """Fit in one Spark task with threads, or in blocks over all tasks; `auto` goes by memory.
    Dates, several chains and shared noise need one task."""
    task_memory_mb: int = Field(4096, ge=1)
    """`schedule="auto"`: the most one task may take, in MiB."""
    blocks: int | None = Field(None, ge=1)
    """Distributed: blocks a side; by default as many as their bytes ask for."""
    threads: int | None = Field(None, ge=1)
    """Threads of a single-task fit; by default the cores of the machine that runs the task."""

    @property
    def predicts_ratings(self) -> bool:
        """A score is a rating."""
        return True

    @property
    def predicts_uncertainty(self) -> bool:
        """Scores have a standard deviation."""
        return True

    @property
    def reads_features(self) -> bool:
        """The fit reads features of users and items."""
        return True

    @property
    def columns(self) -> int:
        """Columns of a row: the factors, then the bias."""
        return self.rank + 1

    @property
    def sweeps(self) -> int:
        """Sweeps of the whole fit."""
        return self.burn_in + self.samples * self.thinning


DEFAULTS = MatchboxParams()
