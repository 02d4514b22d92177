"""/webhook-endpoints, /webhook-secret, /webhook-deliveries"""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import json_response, no_content, page_response, read_body, read_optional_body
from longrun.api.http.parameters import CURSOR, LIMIT, Query, as_text
from longrun.api.http.routing import Answer, Route, gives, takes
from longrun.api.resources import caller_of
from longrun.clock import is_message_id
from longrun.service import webhooks
from longrun.service.caller import Caller
from longrun.service.read import parse_cursor
from longrun.wire.webhooks import DeliveryStatus


def _named(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["endpoint_id"]


async def list_webhook_endpoints(request: Request) -> Response:
    """200 and the endpoints, oldest first, without their secrets."""
    found = await webhooks.endpoints(caller_of(request))
    return json_response(wire.EndpointList([webhooks.endpoint_view(each) for each in found]))


async def add_webhook_endpoint(request: Request) -> Response:
    """201 and the new endpoint with its secret."""
    caller = caller_of(request)
    made = await webhooks.add_endpoint(caller, await read_body(request))
    location = f"{caller.base}/webhook-endpoints/{made.id}"
    return json_response(webhooks.endpoint_view(made, secret=True), 201, {"Location": location})


async def get_webhook_endpoint(request: Request) -> Response:
    """200 and the endpoint."""
    return json_response(webhooks.endpoint_view(await webhooks.endpoint(*_named(request))))


async def change_webhook_endpoint(request: Request) -> Response:
    """200 and the endpoint as it is now."""
    return json_response(webhooks.endpoint_view(await webhooks.change_endpoint(*_named(request), await read_body(request))))


async def delete_webhook_endpoint(request: Request) -> Response:
    """204; it gets nothing any more."""
    await webhooks.delete_endpoint(*_named(request))
    return no_content()


async def get_webhook_endpoint_secret(request: Request) -> Response:
    """200 and the secret that signs its messages."""
    return json_response(wire.Secret((await webhooks.endpoint(*_named(request))).secret))


async def rotate_webhook_endpoint_secret(request: Request) -> Response:
    """200 and the new secret; the old one signs too for a while."""
    return json_response(wire.Secret((await webhooks.rotate_endpoint(*_named(request), await read_optional_body(request))).secret))


async def test_webhook_endpoint(request: Request) -> Response:
    """202 and the delivery of a test."""
    return json_response(webhooks.delivery_view(await webhooks.test_endpoint(*_named(request))), 202)


async def get_webhook_secret(request: Request) -> Response:
    """200 and the secret that signs the webhooks of jobs that bring none."""
    return json_response(wire.Secret(await webhooks.own_secret(caller_of(request))))


async def rotate_webhook_secret(request: Request) -> Response:
    """200 and the new one; the old one signs too for a while."""
    return json_response(wire.Secret(await webhooks.rotate_own_secret(caller_of(request), await read_optional_body(request))))


async def list_webhook_deliveries(request: Request) -> Response:
    """200 and a page of deliveries, newest first."""
    caller, given = caller_of(request), CURSOR.of(request)
    cursor = None if given is None else parse_cursor(given, is_id=is_message_id)
    narrowed = {each.name: value for each in FILTERS if (value := each.of(request)) is not None}
    found = await webhooks.deliveries(caller, narrowed, cursor=cursor, limit=LIMIT.of(request))
    page = wire.DeliveryPage([webhooks.delivery_view(each) for each in found.deliveries], None)
    return page_response(caller, request, "/webhook-deliveries", page, found.cursor)


async def get_webhook_delivery(request: Request) -> Response:
    """200 and one delivery with every try."""
    return json_response(webhooks.delivery_view(await webhooks.delivery(caller_of(request), request.path_params["delivery_id"])))


async def redeliver_webhook(request: Request) -> Response:
    """202 and the delivery; it is sent again at once, with the same id."""
    sent = await webhooks.redeliver(caller_of(request), request.path_params["delivery_id"])
    return json_response(webhooks.delivery_view(sent), 202)


def _status(text: str | None) -> str | None:
    if text is not None and text not in _STATUSES:
        raise ValueError(f"must be one of {', '.join(_STATUSES)}")
    return text


_STATUSES = get_args(DeliveryStatus)
FILTERS = (
    Query("job", "Deliveries about this job.", as_text),
    Query("endpoint", "Deliveries to this endpoint.", as_text),
    Query("status", "Deliveries in this state.", _status, {"type": "string", "enum": list(_STATUSES)}),
)

_TAG, _ENDPOINTS, _OWN, _DELIVERIES = "webhooks", "/webhook-endpoints", "/webhook-secret", "/webhook-deliveries"
_ENDPOINT, _DELIVERY = f"{_ENDPOINTS}/{{endpoint_id}}", f"{_DELIVERIES}/{{delivery_id}}"
_ONE, _SENT, _SECRET = (
    {200: gives(wire.Endpoint, "The endpoint.")},
    gives(wire.Delivery, "The delivery."),
    {200: gives(wire.Secret, "The secret.")},
)
_ROTATION = takes(webhooks.Rotation, required=False)
ROUTES = [
    Route("GET", _ENDPOINTS, list_webhook_endpoints, "Your endpoints", _TAG, {200: gives(wire.EndpointList, "All of them.")}),
    Route(
        "POST", _ENDPOINTS, add_webhook_endpoint, "Register a receiver", _TAG,
        {201: gives(wire.Endpoint, "The endpoint, with its secret.", "Location")}, (409, 422, 507), body=takes(webhooks.EndpointRequest),
    ),
    Route("GET", _ENDPOINT, get_webhook_endpoint, "One endpoint", _TAG, _ONE, (404,)),
    Route(
        "PATCH", _ENDPOINT, change_webhook_endpoint, "Change an endpoint", _TAG, _ONE, (404, 422, 507),
        body=takes(webhooks.EndpointChange),
    ),
    Route("DELETE", _ENDPOINT, delete_webhook_endpoint, "Delete an endpoint", _TAG, {204: Answer("Deleted.")}, (404,)),
    Route("GET", f"{_ENDPOINT}/secret", get_webhook_endpoint_secret, "What signs its messages", _TAG, _SECRET, (404,)),
    Route(
        "POST", f"{_ENDPOINT}/rotate-secret", rotate_webhook_endpoint_secret, "Replace its secret", _TAG, _SECRET, (404, 422, 507),
        body=_ROTATION,
    ),
    Route(
        "POST", f"{_ENDPOINT}/test", test_webhook_endpoint, "Send it a test", _TAG,
        {202: gives(wire.Delivery, "The test is on its way.")}, (404, 507),
    ),
    Route("GET", _OWN, get_webhook_secret, "What signs the webhooks of jobs that bring no secret", _TAG, _SECRET, (507,)),
    Route("POST", f"{_OWN}/rotate", rotate_webhook_secret, "Replace it", _TAG, _SECRET, (422, 507), body=_ROTATION),
    Route(
        "GET", _DELIVERIES, list_webhook_deliveries, "What was sent, newest first", _TAG,
        {200: gives(wire.DeliveryPage, "A page.", "Link")}, (422,), (*FILTERS, CURSOR, LIMIT),
    ),
    Route("GET", _DELIVERY, get_webhook_delivery, "One delivery", _TAG, {200: _SENT}, (404,)),
    Route("POST", f"{_DELIVERY}/redeliver", redeliver_webhook, "Send it again", _TAG, {202: _SENT}, (404, 410, 507)),
]  # fmt: skip
