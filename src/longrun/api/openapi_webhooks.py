"""The part of the OpenAPI document that is about webhooks."""

from __future__ import annotations

from typing import Any, get_args

from longrun.api.openapi_parts import in_path, json_body, ok, operation, query
from longrun.api.schemas import BOOLEAN, NUMBER, TEXT, TIME, Schema, array, nullable, record, ref
from longrun.service.request import EndpointEvent, WebhookRequest
from longrun.service.webhooks import EndpointChange, EndpointRequest, Rotation
from longrun.store.webhooks import DELIVERY_STATUSES
from longrun.version import API_PREFIX

_TAG = "webhooks"
_ENDPOINT = in_path("endpoint_id", "The endpoint's id.")
_DELIVERY = in_path("delivery_id", "The delivery's id.")


def webhook_schemas() -> dict[str, Schema]:
    """Components: what is asked, and what is answered."""
    endpoint: dict[str, Schema] = {
        "id": TEXT,
        "url": TEXT,
        "events": array({"enum": list(get_args(EndpointEvent))}),
        "description": TEXT,
        "disabled": BOOLEAN,
        "disabled_reason": nullable(TEXT),
        "created_at": TIME,
        "secret": {"type": "string", "description": "only in the answer that made the endpoint"},
    }
    one_try = record({"at": TIME, "status_code": {"type": ["integer", "null"]}, "error": nullable(TEXT), "seconds": NUMBER})
    delivery: dict[str, Schema] = {
        "id": {"type": "string", "description": "the `webhook-id`, the same on every try"},
        "type": TEXT,
        "job": {"type": ["string", "null"], "description": "null: a test, or about a batch"},
        "batch": {"type": ["string", "null"], "description": "the batch that it tells of"},
        "endpoint": {"type": ["string", "null"], "description": "null: the job's own webhook"},
        "url": TEXT,
        "status": {"enum": list(DELIVERY_STATUSES)},
        "reason": {"type": ["string", "null"], "description": "why it was given up"},
        "created_at": TIME,
        "finished_at": nullable(TIME),
        "next_attempt_at": nullable(TIME),
        "tries": array(one_try),
    }
    asked = {each.__name__: each.model_json_schema() for each in (WebhookRequest, EndpointRequest, EndpointChange, Rotation)}
    return asked | {
        "Endpoint": record(endpoint, optional=("secret",)),
        "EndpointList": record({"endpoints": array(ref("Endpoint"))}),
        "Secret": record({"secret": TEXT}),
        "Delivery": record(delivery),
        "DeliveryPage": record({"deliveries": array(ref("Delivery")), "next": nullable(TEXT)}),
    }


def webhook_paths() -> dict[str, dict[str, Any]]:
    """Every route that is about webhooks."""
    endpoints, deliveries = f"{API_PREFIX}/webhook-endpoints", f"{API_PREFIX}/webhook-deliveries"
    return _endpoints(endpoints) | _one_endpoint(f"{endpoints}/{{endpoint_id}}") | _own_secret() | _deliveries(deliveries)


def _endpoints(path: str) -> dict[str, dict[str, Any]]:
    made = {201: ok(ref("Endpoint"), "The endpoint, with its secret.", ("Location",))}
    return {
        path: {
            "get": operation("list_webhook_endpoints", "Your endpoints", _TAG, {200: ok(ref("EndpointList"), "All of them.")}),
            "post": operation(
                "add_webhook_endpoint", "Register a receiver", _TAG, made, 409, 422, 507, requestBody=json_body("EndpointRequest")
            ),
        }
    }


def _one_endpoint(path: str) -> dict[str, dict[str, Any]]:
    of: dict[str, Any] = {"parameters": [_ENDPOINT]}
    endpoint, secret = {200: ok(ref("Endpoint"), "The endpoint.")}, {200: ok(ref("Secret"), "The secret.")}
    change, rotation = {"requestBody": json_body("EndpointChange")}, {"requestBody": json_body("Rotation", required=False)}
    deleted, tested = {204: {"description": "Deleted."}}, {202: ok(ref("Delivery"), "The test is on its way.")}
    return {
        path: {
            "get": operation("get_webhook_endpoint", "One endpoint", _TAG, endpoint, 404, **of),
            "patch": operation("change_webhook_endpoint", "Change an endpoint", _TAG, endpoint, 404, 422, 507, **of, **change),
            "delete": operation("delete_webhook_endpoint", "Delete an endpoint", _TAG, deleted, 404, **of),
        },
        f"{path}/secret": {"get": operation("get_webhook_endpoint_secret", "What signs its messages", _TAG, secret, 404, **of)},
        f"{path}/rotate-secret": {
            "post": operation("rotate_webhook_endpoint_secret", "Replace its secret", _TAG, secret, 404, 422, 507, **of, **rotation)
        },
        f"{path}/test": {"post": operation("test_webhook_endpoint", "Send it a test", _TAG, tested, 404, 507, **of)},
    }


def _own_secret() -> dict[str, dict[str, Any]]:
    path, secret = f"{API_PREFIX}/webhook-secret", {200: ok(ref("Secret"), "The secret.")}
    return {
        path: {"get": operation("get_webhook_secret", "What signs the webhooks of jobs that bring no secret", _TAG, secret, 507)},
        f"{path}/rotate": {
            "post": operation(
                "rotate_webhook_secret", "Replace it", _TAG, secret, 422, 507, requestBody=json_body("Rotation", required=False)
            )
        },
    }


def _deliveries(path: str) -> dict[str, dict[str, Any]]:
    filters = [
        query("job", "Deliveries about this job."),
        query("endpoint", "Deliveries to this endpoint."),
        query("status", "Deliveries in this state.", enum=list(DELIVERY_STATUSES)),
        query("cursor", "From `next` of the page before."),
        query("limit", "Deliveries a page, 20 when not given.", type="integer", minimum=1, maximum=100),
    ]
    page, one = {200: ok(ref("DeliveryPage"), "A page.", ("Link",))}, ok(ref("Delivery"), "The delivery.")
    of: dict[str, Any] = {"parameters": [_DELIVERY]}
    return {
        path: {"get": operation("list_webhook_deliveries", "What was sent, newest first", _TAG, page, 422, parameters=filters)},
        f"{path}/{{delivery_id}}": {"get": operation("get_webhook_delivery", "One delivery", _TAG, {200: one}, 404, **of)},
        f"{path}/{{delivery_id}}/redeliver": {
            "post": operation("redeliver_webhook", "Send it again", _TAG, {202: one}, 404, 410, 507, **of)
        },
    }
