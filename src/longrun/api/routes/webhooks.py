"""/webhook-endpoints, /webhook-secret, /webhook-deliveries"""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import json_response, no_content, page_response, read_body, read_optional_body
from longrun.api.http.parameters import CURSOR, LIMIT, Query, as_text, one_of
from longrun.api.http.routing import Answer, Routes, gives, takes
from longrun.api.resources import caller_of
from longrun.clock import is_message_id
from longrun.service import webhooks
from longrun.service.caller import Caller
from longrun.service.read import parse_cursor
from longrun.wire.webhooks import DeliveryStatus

_STATUSES = get_args(DeliveryStatus)
FILTERS = (
    Query("job", "Deliveries about this job.", as_text),
    Query("endpoint", "Deliveries to this endpoint.", as_text),
    Query("status", "Deliveries in this state.", one_of(_STATUSES), {"type": "string", "enum": list(_STATUSES)}),
)

_ENDPOINT = wire.Endpoint
_MADE = {201: gives(_ENDPOINT, "The endpoint, with its secret.", "Location")}
_ROTATION = takes(webhooks.Rotation, required=False)
routes = Routes("webhooks")


def _named(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["endpoint_id"]


@routes("GET", "/webhook-endpoints", {200: gives(wire.EndpointList)})
async def list_webhook_endpoints(request: Request) -> Response:
    """Your endpoints."""
    found = await webhooks.endpoints(caller_of(request))
    return json_response(wire.EndpointList([webhooks.endpoint_view(each) for each in found]))


@routes("POST", "/webhook-endpoints", _MADE, (409, 422, 507), body=takes(webhooks.EndpointRequest))
async def add_webhook_endpoint(request: Request) -> Response:
    """Register a receiver."""
    caller = caller_of(request)
    made = await webhooks.add_endpoint(caller, await read_body(request, caller.settings.max_items))
    location = f"{caller.base}/webhook-endpoints/{made.id}"
    return json_response(webhooks.endpoint_view(made, secret=True), 201, {"Location": location})


@routes("GET", "/webhook-endpoints/{endpoint_id}", {200: gives(_ENDPOINT)}, (404,))
async def get_webhook_endpoint(request: Request) -> Response:
    """One endpoint."""
    return json_response(webhooks.endpoint_view(await webhooks.endpoint(*_named(request))))


@routes("PATCH", "/webhook-endpoints/{endpoint_id}", {200: gives(_ENDPOINT)}, (404, 422, 507), body=takes(webhooks.EndpointChange))
async def change_webhook_endpoint(request: Request) -> Response:
    """Change an endpoint."""
    caller, endpoint_id = _named(request)
    change = await read_body(request, caller.settings.max_items)
    return json_response(webhooks.endpoint_view(await webhooks.change_endpoint(caller, endpoint_id, change)))


@routes("DELETE", "/webhook-endpoints/{endpoint_id}", {204: Answer("Deleted.")}, (404,))
async def delete_webhook_endpoint(request: Request) -> Response:
    """Delete an endpoint."""
    await webhooks.delete_endpoint(*_named(request))
    return no_content()


@routes("GET", "/webhook-endpoints/{endpoint_id}/secret", {200: gives(wire.Secret)}, (404,))
async def get_webhook_endpoint_secret(request: Request) -> Response:
    """What signs its messages."""
    return json_response(wire.Secret((await webhooks.endpoint(*_named(request))).secret))


@routes("POST", "/webhook-endpoints/{endpoint_id}/rotate-secret", {200: gives(wire.Secret)}, (404, 422, 507), body=_ROTATION)
async def rotate_webhook_endpoint_secret(request: Request) -> Response:
    """Replace its secret.

    The old one signs too for a while.
    """
    caller, endpoint_id = _named(request)
    asked = await read_optional_body(request, caller.settings.max_items)
    return json_response(wire.Secret((await webhooks.rotate_endpoint(caller, endpoint_id, asked)).secret))


@routes("POST", "/webhook-endpoints/{endpoint_id}/test", {202: gives(wire.Delivery, "The test is on its way.")}, (404, 507))
async def test_webhook_endpoint(request: Request) -> Response:
    """Send it a test."""
    return json_response(webhooks.delivery_view(await webhooks.test_endpoint(*_named(request))), 202)


@routes("GET", "/webhook-secret", {200: gives(wire.Secret)}, (507,))
async def get_webhook_secret(request: Request) -> Response:
    """What signs the webhooks of jobs that bring no secret."""
    return json_response(wire.Secret(await webhooks.own_secret(caller_of(request))))


@routes("POST", "/webhook-secret/rotate", {200: gives(wire.Secret)}, (422, 507), body=_ROTATION)
async def rotate_webhook_secret(request: Request) -> Response:
    """Replace it.

    The old one signs too for a while.
    """
    caller = caller_of(request)
    asked = await read_optional_body(request, caller.settings.max_items)
    return json_response(wire.Secret(await webhooks.rotate_own_secret(caller, asked)))


@routes("GET", "/webhook-deliveries", {200: gives(wire.DeliveryPage, "", "Link")}, (422,), (*FILTERS, CURSOR, LIMIT))
async def list_webhook_deliveries(request: Request) -> Response:
    """What was sent, newest first."""
    caller, given = caller_of(request), CURSOR.of(request)
    cursor = None if given is None else parse_cursor(given, is_id=is_message_id)
    narrowed = {each.name: value for each in FILTERS if (value := each.of(request)) is not None}
    found, following = await webhooks.deliveries(caller, narrowed, cursor=cursor, limit=LIMIT.of(request))
    page = wire.DeliveryPage([webhooks.delivery_view(each) for each in found], None)
    return page_response(caller, request, "/webhook-deliveries", page, following)


@routes("GET", "/webhook-deliveries/{delivery_id}", {200: gives(wire.Delivery)}, (404,))
async def get_webhook_delivery(request: Request) -> Response:
    """One delivery."""
    return json_response(webhooks.delivery_view(await webhooks.delivery(caller_of(request), request.path_params["delivery_id"])))


@routes("POST", "/webhook-deliveries/{delivery_id}/redeliver", {202: gives(wire.Delivery)}, (404, 410, 507))
async def redeliver_webhook(request: Request) -> Response:
    """Send it again.

    At once, and with the same id.
    """
    sent = await webhooks.redeliver(caller_of(request), request.path_params["delivery_id"])
    return json_response(webhooks.delivery_view(sent), 202)
