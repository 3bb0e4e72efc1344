"""/recommend and /similar: recommendations for known users, for items, and for sessions."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from matchlake.serve.answers import answer
from matchlake.serve.errors import RequestError
from matchlake.serve.lists import (
    DEFAULT_K,
    check_names,
    checked_items,
    checked_k,
    logged,
)
from matchlake.serve.middleware import body_of
from matchlake.serve.recommender import Listed, RecommenderServer
from matchlake.serve.state import State


def routes(state: State) -> list[BaseRoute]:
    """Returns the routes of a recommender; for other models they answer 404."""

    async def recommend(request: Request) -> Response:
        model = _recommender(state)
        k, exclude = _query(request, model, {"k", "exclude"})
        user = model.check_id(request.path_params["user"], "user")
        shown = None if state.is_erased(user) else user
        found = model.recommend(shown, k, exclude)
        inputs: dict[str, Sequence[Any]] = {"k": [k], "exclude": [exclude]}
        return _listed(state, model, found, logged(state, model, inputs, [found], [shown]))

    async def recommend_new(request: Request) -> Response:
        data = await body_of(request, state)
        model = _recommender(state)
        check_names(data, {"items"}, {"k", "exclude"}, "key")
        history = model.check_history(data["items"])
        _check_count(state, history)
        k = checked_k(data.get("k", DEFAULT_K))
        exclude = checked_items(model, data.get("exclude", []))
        found = model.recommend_new(history, k, exclude)
        inputs: dict[str, Sequence[Any]] = {"k": [k], "exclude": [exclude], "items": [history]}
        return _listed(state, model, found, logged(state, model, inputs, [found], [None]))

    async def similar(request: Request) -> Response:
        model = _recommender(state)
        k, _ = _query(request, model, {"k"})
        item = model.check_id(request.path_params["item"], "item")
        return _listed(state, model, model.similar(item, k), {})

    return [
        Route("/recommend", recommend_new, methods=["POST"]),
        Route("/recommend/{user:path}", recommend, methods=["GET"]),
        Route("/similar/{item:path}", similar, methods=["GET"]),
    ]


def _recommender(state: State) -> RecommenderServer:
    model = state.model
    if not isinstance(model, RecommenderServer):
        raise RequestError(
            f"Model {model.name} scores rows; it recommends no items. Use /invocations.",
            None,
            404,
        )
    return model


def _query(request: Request, model: RecommenderServer, known: set[str]) -> tuple[int, list[str]]:
    """Returns the parameters k and exclude of a query; exclude may be repeated."""
    pairs = request.query_params.multi_items()
    check_names(dict(pairs), set(), known, "parameter")
    ks: list[Any] = [value for name, value in pairs if name == "k"]
    if len(ks) > 1:
        raise RequestError("k is given twice.", "k")
    exclude = [model.check_id(value, name) for name, value in pairs if name == "exclude"]
    return checked_k(ks[0] if ks else DEFAULT_K), exclude


def _check_count(state: State, history: Sequence[str] | dict[str, float]) -> None:
    if len(history) > state.params.max_rows:
        raise RequestError(
            f"items has {len(history)} items; at most {state.params.max_rows} are allowed.", "items"
        )


def _listed(
    state: State, model: RecommenderServer, found: Listed, headers: dict[str, str]
) -> Response:
    state.metrics.count("matchlake_rows_total")
    pairs = zip(found.items, found.scores, strict=True)
    items = [{"item_id": item, "score": score} for item, score in pairs]
    body = {"model_name": model.name, "model_version": model.version, "items": items}
    return answer(body, model, headers)
