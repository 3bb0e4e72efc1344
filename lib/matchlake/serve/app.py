"""The application: all routes behind the middleware."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from matchlake.serve import kserve_routes, mlflow_routes, recommend_routes
from matchlake.serve.answers import answer
from matchlake.serve.middleware import Middleware
from matchlake.serve.openapi import described
from matchlake.serve.page import PAGE
from matchlake.serve.state import State


def application(state: State) -> ASGIApp:
    """Returns the ASGI application of a server."""

    async def openapi(_: Request) -> Response:
        return answer(described(state.model), state.model)

    async def page(_: Request) -> Response:
        return Response(PAGE, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)

    async def metrics(_: Request) -> Response:
        model = state.model
        text = state.metrics.text({"name": model.name, "version": model.version})
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    own = [Route("/openapi.json", openapi), Route("/metrics", metrics), Route("/", page)]
    rooms = (mlflow_routes, kserve_routes, recommend_routes)
    listed = [route for room in rooms for route in room.routes(state)]
    return Middleware(_Routes([*listed, *own]), state)


class _Routes:
    """A router that looks up paths without parameters in a table."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        plain = [each for each in routes if isinstance(each, Route) and not each.param_convertors]
        self._plain = {(each.path, name): each for each in plain for name in each.methods or ()}
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; raises the errors of its route."""
        route = self._plain.get((scope["path"], scope["method"]))
        if route is None:
            await self._router(scope, receive, send)
            return
        response = await route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'",
    "x-content-type-options": "nosniff",
}
