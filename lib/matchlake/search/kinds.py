"""The kinds of search: a grid, or one of Optuna's samplers."""

from matchlake.errors import ParameterError
from matchlake.search.grid import GridProposals
from matchlake.search.params import SearchParams
from matchlake.search.proposals import Proposals
from matchlake.search.space import Space


def check_grid(space: Space, params: SearchParams) -> None:
    """Raises ParameterError for a grid that is not possible; other kinds always are."""
    if params.kind == "grid":
        GridProposals(space, params.trials)


def proposals_of(space: Space, params: SearchParams, *, maximize: bool) -> Proposals:
    """The proposals of the kind that `params` name.

    Raises ParameterError for a grid with a continuous range or with too many combinations, and
    if Optuna is needed and missing.
    """
    if params.kind == "grid":
        return GridProposals(space, params.trials)
    try:
        from matchlake.search.optuna_study import OptunaProposals  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ParameterError(
            f"search.kind {params.kind} needs Optuna, which is not installed. Install the extra: "
            "pip install 'matchlake[search]'. The kind grid works without it."
        ) from None
    return OptunaProposals(space, params, maximize=maximize)
