"""All routes of the contract, docs/http.md. Each is declared once, below its handler: for the router and for the OpenAPI document."""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute

from longrun.api.http.router import table_of
from longrun.api.routes import batches, events, files, jobs, models, operations, submit, webhooks
from longrun.version import API_PREFIX

ROUTES = [
    *submit.ROUTES,
    *models.ROUTES,
    *jobs.ROUTES,
    *events.ROUTES,
    *batches.ROUTES,
    *files.ROUTES,
    *webhooks.ROUTES,
    *operations.ROUTES,
]
TABLE = table_of(ROUTES)


def sockets() -> list[BaseRoute]:
    """The WebSockets, ready to be added to an app."""
    return [WebSocketRoute(f"{API_PREFIX}/jobs/{{job_id}}/ws", events.serve_socket)]
