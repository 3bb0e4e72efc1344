"""The routes of MLflow's protocol: /invocations, /ping and /version."""

import asyncio
from functools import partial
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from matchlake.serve.answers import answer
from matchlake.serve.errors import RequestError
from matchlake.serve.lists import lists_of
from matchlake.serve.middleware import body_of
from matchlake.serve.scoring import Scored, ScoringServer
from matchlake.serve.state import State
from matchlake.serve.tables import Columns, invocation

INLINE_ROWS = 50
"""The maximum number of rows scored in the event loop; a thread scores larger requests."""


def routes(state: State) -> list[BaseRoute]:
    """Returns the routes of MLflow's scoring server."""

    async def invocations(request: Request) -> Response:
        columns, params = invocation(await body_of(request, state))
        model = state.model
        if isinstance(model, ScoringServer):
            if params:
                name = next(iter(params))
                raise RequestError(f"The model has no parameter {str(name)[:80]!r}.", name)
            scored, headers = await scored_rows(state, model, columns)
            names = list(scored.columns)
            rows = zip(*scored.columns.values(), strict=True)
            found: list[Any] = [dict(zip(names, row, strict=True)) for row in rows]
        else:
            lists, headers = await lists_of(state, model, columns, params)
            found = [{"item_id": each.items, "score": each.scores} for each in lists]
        return answer({"predictions": found}, model, headers)

    async def ping(_: Request) -> Response:
        return Response(b"\n", 503 if state.is_stopping else 200, media_type="application/json")

    async def shown_version(_: Request) -> Response:
        return Response(version("matchlake"), media_type="text/plain")

    return [
        Route("/invocations", invocations, methods=["POST"]),
        Route("/ping", ping),
        Route("/health", ping),
        Route("/version", shown_version),
    ]


async def scored_rows(
    state: State, model: ScoringServer, columns: Columns
) -> tuple[Scored, dict[str, str]]:
    """Scores and logs rows. Returns the outputs, and the header with the log id."""
    rows = model.check_rows(columns, state.params.max_rows)
    score = partial(model.score, columns, hashed=state.log is not None)
    if rows <= INLINE_ROWS:
        scored = score()
    else:
        scored = await asyncio.get_running_loop().run_in_executor(state.pool, score)
    state.metrics.count("matchlake_rows_total", rows)
    # Keys are not logged, because they may identify persons.
    inputs = {each.name: columns[each.name] for each in model.signature.columns}
    hashed = scored.features_hash
    return scored, state.logged(model, inputs, scored.columns, features_hash=hashed)
