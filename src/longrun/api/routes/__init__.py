"""All routes of the contract, docs/http.md. Each is declared once, above its handler: for the router and for the OpenAPI document."""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute

from longrun.api.http.router import table_of
from longrun.api.routes import batches, events, files, jobs, models, operations, steps, submit, webhooks
from longrun.version import API_PREFIX

ROUTES = [route for each in (submit, models, jobs, steps, events, batches, files, webhooks, operations) for route in each.routes]
TABLE = table_of(ROUTES)


def sockets() -> list[BaseRoute]:
    """The WebSockets, ready to be added to an app."""
    return [WebSocketRoute(f"{API_PREFIX}/jobs/{{job_id}}/ws", events.serve_socket)]
