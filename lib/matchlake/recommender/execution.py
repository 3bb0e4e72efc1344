"""Chooses between one Spark task and blocks over all tasks, by memory."""

import logging
from typing import Literal

from matchlake.recommender.interaction_stats import InteractionStats

_log = logging.getLogger(__name__)

Execution = Literal["single_task", "distributed"]


def choose_execution(
    requested: Literal["auto"] | Execution,
    stats: InteractionStats,
    needed_bytes: int,
    limit_mb: int,
) -> Execution:
    """Returns the requested execution; for `auto`, a single task if `needed_bytes` fit."""
    needed_mb = needed_bytes >> 20
    chosen = requested
    if chosen == "auto":
        chosen = "single_task" if needed_mb <= limit_mb else "distributed"
    _log.info(
        "%d interactions, about %d users and %d items: %d MiB in one task, limit %d; execution %s",
        *(stats.interactions, stats.users, stats.items, needed_mb, limit_mb, chosen),
    )
    return chosen
