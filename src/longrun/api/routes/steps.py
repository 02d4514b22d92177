"""What jobs are made of, and what they ask"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import json_response, page_response, read_body
from longrun.api.http.parameters import CURSOR, Query, whole
from longrun.api.http.routing import Routes, gives, takes
from longrun.api.resources import caller_of
from longrun.api.routes.files import SIGNED
from longrun.service import signals
from longrun.service.tree import tree

MOST = Query(
    "limit",
    "How many steps a page holds, 100 when not given.",
    whole("0{0,2}[1-9]|0?[1-9][0-9]|100", "must be a whole number from 1 to 100", 100),
    {"type": "integer", "minimum": 1, "maximum": 100},
)
_GONE = (404, 410)
routes = Routes("jobs")


@routes("GET", "/jobs/{job_id}/tree", {200: gives(wire.Tree, "", "Link")}, (*_GONE, 422), (CURSOR, MOST))
async def get_tree(request: Request) -> Response:
    """What a job is made of.

    The jobs that it has made, what it has done as steps of its own, what it waits for; oldest first. What these are made of is at their own
    `urls.tree`.
    """
    caller, job_id = caller_of(request), request.path_params["job_id"]
    page, cursor = await tree(caller, job_id, cursor=CURSOR.of(request), limit=MOST.of(request))
    return page_response(caller, request, f"/jobs/{job_id}/tree", page, cursor)


@routes("GET", "/jobs/{job_id}/signals/{name}", {200: gives(wire.Signal)}, (*_GONE, 422), SIGNED, key="signed")
async def get_signal(request: Request) -> Response:
    """What a job asks.

    It answers nothing, so that what follows links in mails answers nothing either.
    """
    job_id, name = request.path_params["job_id"], request.path_params["name"]
    return json_response(await signals.look(caller_of(request), job_id, name, dict(request.query_params)))


@routes(
    "POST", "/jobs/{job_id}/signals/{name}", {200: gives(wire.Signal)}, (*_GONE, 408, 409, 422, 507), SIGNED, body=takes({}), key="signed"
)
async def send_signal(request: Request) -> Response:
    """Answer what a job asks.

    The body is the answer, any JSON value. It counts once; the same one may be sent again.
    """
    caller = caller_of(request)
    job_id, name = request.path_params["job_id"], request.path_params["name"]
    value = await read_body(request, caller.settings.max_items)
    return json_response(await signals.answer(caller, job_id, name, value, dict(request.query_params)))
