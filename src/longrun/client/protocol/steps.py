"""What a job is made of, and the answers to what it asks."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from longrun.client.http.retry import Rules
from longrun.client.http.steps import Flow, Json, Request
from longrun.client.protocol.calls import call_json, path_of, to_json


def tree(rules: Rules, job_id: str, deep: bool) -> Flow[Json]:
    """A job with all its steps, and with `deep` the steps of these in their `steps`, to any depth. Raises ApiError, Unreachable."""
    where = path_of("jobs", job_id, "/tree")
    whole: Json = yield from call_json(rules, Request("GET", where))
    page = whole
    while page.get("next"):
        page = yield from call_json(rules, Request("GET", f"{where}?{urlsplit(page['next']).query}"))
        whole["steps"] += page["steps"]
    whole["next"] = None
    for step in whole["steps"] if deep else ():
        if step.get("children"):
            below = yield from tree(rules, step["id"], deep)
            step["steps"] = below["steps"]
    return whole


def signal(rules: Rules, job_id: str, name: str, value: Any) -> Flow[Json]:
    """Answer what a job asks. May be repeated. Raises ApiError, Unreachable, TypeError: the value is nothing that JSON can hold."""
    path = path_of("jobs", job_id, f"/signals/{quote(name, safe='')}")
    answered: Json = yield from call_json(rules, Request("POST", path, {"Content-Type": "application/json"}, to_json(value)))
    return answered
