"""/webhook-endpoints, /webhook-secret, /webhook-deliveries"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from longrun.api import headers as ask
from longrun.api.answers import json_response, read_body, read_optional_body
from longrun.api.resources import caller_of
from longrun.clock import is_message_id
from longrun.service import webhooks
from longrun.service.caller import Caller
from longrun.service.read import parse_cursor


def _endpoint(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["endpoint_id"]


async def list_endpoints(request: Request) -> Response:
    """200 and the endpoints, oldest first, without their secrets."""
    return json_response({"endpoints": [webhooks.endpoint_view(each) for each in await webhooks.endpoints(caller_of(request))]})


async def add_endpoint(request: Request) -> Response:
    """201 and the new endpoint with its secret."""
    caller = caller_of(request)
    made = await webhooks.add_endpoint(caller, await read_body(request))
    location = f"{caller.base}/webhook-endpoints/{made.id}"
    return json_response(webhooks.endpoint_view(made, secret=True), 201, {"Location": location})


async def get_endpoint(request: Request) -> Response:
    """200 and the endpoint."""
    return json_response(webhooks.endpoint_view(await webhooks.endpoint(*_endpoint(request))))


async def change_endpoint(request: Request) -> Response:
    """200 and the endpoint as it is now."""
    return json_response(webhooks.endpoint_view(await webhooks.change_endpoint(*_endpoint(request), await read_body(request))))


async def delete_endpoint(request: Request) -> Response:
    """204; it gets nothing any more."""
    await webhooks.delete_endpoint(*_endpoint(request))
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


async def get_endpoint_secret(request: Request) -> Response:
    """200 and the secret that signs its messages."""
    return json_response({"secret": (await webhooks.endpoint(*_endpoint(request))).secret})


async def rotate_endpoint(request: Request) -> Response:
    """200 and the new secret; the old one signs too for a while."""
    return json_response({"secret": (await webhooks.rotate_endpoint(*_endpoint(request), await read_optional_body(request))).secret})


async def test_endpoint(request: Request) -> Response:
    """202 and the delivery of a test."""
    return json_response(webhooks.delivery_view(await webhooks.test_endpoint(*_endpoint(request))), 202)


async def get_secret(request: Request) -> Response:
    """200 and the secret that signs the webhooks of jobs that bring none."""
    return json_response({"secret": await webhooks.own_secret(caller_of(request))})


async def rotate_secret(request: Request) -> Response:
    """200 and the new one; the old one signs too for a while."""
    return json_response({"secret": await webhooks.rotate_own_secret(caller_of(request), await read_optional_body(request))})


async def list_deliveries(request: Request) -> Response:
    """200 and a page of deliveries, newest first."""
    caller, query = caller_of(request), request.query_params
    cursor = None if "cursor" not in query else parse_cursor(query["cursor"], is_id=is_message_id)
    found = await webhooks.deliveries(caller, ask.delivery_filters(query), cursor=cursor, limit=ask.limit(query))
    page: dict[str, Any] = {"deliveries": [webhooks.delivery_view(each) for each in found.deliveries], "next": None}
    if found.cursor is None:
        return json_response(page)
    page["next"] = f"{caller.base}/webhook-deliveries?{urlencode({**query, 'cursor': found.cursor})}"
    return json_response(page, headers={"Link": f'<{page["next"]}>; rel="next"'})


async def get_delivery(request: Request) -> Response:
    """200 and one delivery with every try."""
    return json_response(webhooks.delivery_view(await webhooks.delivery(caller_of(request), request.path_params["delivery_id"])))


async def redeliver(request: Request) -> Response:
    """202 and the delivery; it is sent again at once, with the same id."""
    sent = await webhooks.redeliver(caller_of(request), request.path_params["delivery_id"])
    return json_response(webhooks.delivery_view(sent), 202)
