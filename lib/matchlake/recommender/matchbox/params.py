"""Parameters of a Matchbox fit."""

from typing import Literal

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class MatchboxParams(FitParams):
    """Parameters of `fit_matchbox`; only `rank` and the samples need tuning.

    The model, for user u, item i and, with `day_effects`, the user's day t:

        rating ~ N(f, 1 / beta_u),  f = mean + b_u + c_i + e_t + p_u.q_i + p_u.d_t + q_i.d_t
        [p_u, b_u] ~ N(mu + B' x_u, Lambda^-1), likewise items (and days, without features)
        Lambda ~ Wishart(I, rank + 1),  mu | Lambda ~ N(0, (2 Lambda)^-1)
        B_s | Lambda, l_s ~ matrix normal(0, (l_s I)^-1, Lambda^-1),  l_s ~ Gamma(1/2, rate 1/2)
        beta_u ~ Gamma(a, rate b),  a ~ Gamma(3, rate 0.3),  b ~ Gamma(1, rate 1)
        or, with noise_variance="global", one beta ~ Gamma(1, rate 1) for all users

    B_s are the rows of B for one source of features: a column, or the history. With `ordinal`, the
    level of a rating is given by a latent N(f, 1) and thresholds per user. The logarithmic gaps of
    the thresholds are normal with a normal-Wishart prior.
    """

    rank: int = Field(20, ge=1, le=512)
    """Columns of the factor matrices."""
    samples: int = Field(200, ge=1)
    """Posterior samples to keep; the model's factors have `samples * rank` columns."""
    burn_in: int = Field(100, ge=0)
    """Sweeps before the first sample."""
    thinning: int = Field(2, ge=1)
    """Sweeps from one sample to the next."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of every random number of the fit."""
    history_features: bool = True
    """Use as features which items a user has rated, and which users have rated an item. They
    improve predictions for users and items with ratings, and hurt cold-start predictions."""
    max_history_features: int = Field(4000, ge=1)
    """Maximum number of items, and of users, that are history features: those with most ratings."""
    noise_variance: Literal["per_user", "global"] = "per_user"
    """One noise variance per user, or one for all ratings. Users with many ratings differ in their
    noise. If most users have few ratings, a global variance may predict better."""
    ordinal: bool = False
    """Treat ratings as levels: predict the probability of each one, by thresholds per user."""
    day_effects: bool = False
    """Use the UTC day of `event_time`, per user, as a third side of each rating."""
    low_rank_tolerance: float = Field(0.005, gt=0)
    """The posterior mean in few columns ranks users and items. Its root mean square error over all
    pairs of trained users and items is at most this, in units of a score."""
    chains: int = Field(1, ge=1)
    """Chains that share the samples, each with its own burn-in. Several chains give better
    convergence diagnostics, and may predict better than one chain with as many sweeps."""
    execution: Literal["auto", "single_task", "distributed"] = "auto"
    """Fit in one Spark task with threads, or in blocks over all tasks; `auto` decides by memory.
    Day effects, several chains and a global noise variance need one task."""
    task_memory_mb: int = Field(4096, ge=1)
    """Memory limit of one task, in MiB: `execution="auto"` decides by it, and a distributed fit
    whose blocks would need more is refused."""
    blocks: int | None = Field(None, ge=1)
    """Distributed: blocks per side; null: two per core, and as many as `task_memory_mb` needs."""
    threads: int | None = Field(None, ge=1)
    """Threads of a single-task fit; null: the cores of the machine that runs the task."""

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
