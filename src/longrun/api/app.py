"""The application: middleware, routes, problems and documentation put together. `longrun.wiring.create_app` hands it its parts."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from longrun.api import problems
from longrun.api.http.router import Router
from longrun.api.limits import body_limits
from longrun.api.middleware.access import AccessControl
from longrun.api.middleware.request_id import RequestId
from longrun.api.openapi.served import ServedDocument
from longrun.api.resources import OpenParts, Resources, StartChores
from longrun.api.routes import ROUTES, TABLE, sockets
from longrun.models import Registry
from longrun.settings import Settings


class Service(FastAPI):
    """FastAPI serves the documentation and what is added to the app; our own routes are answered in front of its router (`Router`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # For each request FastAPI looks for somebody who collects its telemetry, for longer than we take to find the handler. Without the
        # SDK there is nobody.
        if scope["type"] == "lifespan" or self.root_path or "opentelemetry.sdk" in sys.modules:
            await super().__call__(scope, receive, send)
        else:
            await Starlette.__call__(self, scope, receive, send)


def build_app(settings: Settings, models: Registry, open_parts: OpenParts, start_chores: StartChores | None = None) -> FastAPI:
    """The API as an ASGI application: to be served, or mounted in another one.

    Its lifespan (`app.router.lifespan_context`) opens the parts and closes them; mounted, where no lifespan reaches it, the first request
    opens them.

    Args:
        settings: the operator's settings.
        models: what is served.
        open_parts: makes the parts, without I/O.
        start_chores: upkeep that runs beside the requests until it is canceled; None = none.
    """
    resources = Resources(open_parts, start_chores)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        resources.parts()
        try:
            yield
        finally:
            await resources.close()

    app = Service(title="Longrun", lifespan=lifespan, redirect_slashes=False, redoc_url=None, swagger_ui_oauth2_redirect_url=None)
    app.state.longrun = resources
    app.router.routes.extend(sockets())
    app.router.default = problems.refuse_elsewhere
    document = ServedDocument(ROUTES, models, settings)
    app.openapi = document.of(app)  # type: ignore[method-assign]
    problems.install(app)
    app.add_middleware(Router, table={**TABLE, "/openapi.json": {"GET": document.answer}})
    app.add_middleware(AccessControl, settings=settings, limits=body_limits(models, settings))
    app.add_middleware(RequestId, is_stopping=lambda: resources.stopping)
    return app
