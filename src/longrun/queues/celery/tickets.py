"""The ticket of a job: a Celery message of protocol 2, built by Celery's own `as_task_v2`."""

from __future__ import annotations

import base64
import json
from typing import Any

from celery import Celery

TASK_PREFIX = "longrun."
_NEUTRAL_APP = Celery("longrun", set_as_current=False)


def task_name(model: str) -> str:
    """Celery's name for the jobs of a model."""
    return TASK_PREFIX + model


def ticket_message(job_id: str, model: str, lane: str, level: int | str) -> dict[str, Any]:
    """The message as it lies in a Redis list, in kombu's envelope (kombu.transport.virtual, `Channel.prepare_message`).

    Args:
        job_id: becomes the task id.
        model: becomes the task name `longrun.<model>`.
        lane: `<queue>.<model>`, the Celery queue.
        level: kombu's priority on Redis, 0 the most urgent (9 minus ours).
    """
    message = _NEUTRAL_APP.amqp.as_task_v2(
        job_id, task_name(model), args=(), kwargs={}, argsrepr="", kwargsrepr="", origin="longrun", ignore_result=True
    )
    # Members that say nothing are left out: Celery reads them with .get(), and a ticket is most of what a queued job costs.
    headers = {name: value for name, value in message.headers.items() if name not in _DEFAULTED}
    body = base64.b64encode(json.dumps(message.body, separators=(",", ":")).encode()).decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": lane},
            "priority": level,
            "body_encoding": "base64",
            "delivery_tag": job_id,
        },
    }


_DEFAULTED = frozenset({"shadow", "group", "group_index", "stamped_headers", "stamps", "replaced_task_nesting", "parent_id"})


def ticket_template() -> str:
    """The message with placeholders, as `longrun.store.scripts.load_scripts` wants it."""
    text = json.dumps(ticket_message("@ID@", "@MODEL@", "@LANE@", "@LEVEL@"), separators=(",", ":"))
    return text.replace('"priority":"@LEVEL@"', '"priority":@LEVEL@')
