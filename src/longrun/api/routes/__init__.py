"""All routes of the contract (HTTP.md)."""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute

from longrun.api.answers import PREFIX
from longrun.api.pages import Table
from longrun.api.routes import batches, events, files, jobs, models, operations, submit, webhooks

#: One entry a path, so that `Allow` names all its methods.
TABLE: Table = {
    f"{PREFIX}/models/{{model}}/jobs": {"POST": submit.submit_job},
    f"{PREFIX}/models/{{model}}/batches": {"POST": batches.submit_batch},
    f"{PREFIX}/models": {"GET": models.list_models},
    f"{PREFIX}/models/{{model}}": {"GET": models.get_model},
    f"{PREFIX}/jobs": {"GET": jobs.list_jobs},
    f"{PREFIX}/jobs/{{job_id}}": {"GET": jobs.get_job, "DELETE": jobs.delete_job},
    f"{PREFIX}/jobs/{{job_id}}/result": {"GET": jobs.get_result},
    f"{PREFIX}/jobs/{{job_id}}/output": {"GET": jobs.get_output},
    f"{PREFIX}/jobs/{{job_id}}/events": {"GET": events.get_events},
    f"{PREFIX}/jobs/{{job_id}}/ws": {"GET": events.get_socket},
    f"{PREFIX}/jobs/{{job_id}}/attempts": {"GET": jobs.get_attempts},
    f"{PREFIX}/jobs/{{job_id}}/cancel": {"POST": jobs.cancel_job},
    f"{PREFIX}/jobs/{{job_id}}/retry": {"POST": jobs.retry_job},
    f"{PREFIX}/batches": {"GET": batches.list_batches},
    f"{PREFIX}/batches/{{batch_id}}": {"GET": batches.get_batch},
    f"{PREFIX}/batches/{{batch_id}}/results": {"GET": batches.get_results},
    f"{PREFIX}/batches/{{batch_id}}/cancel": {"POST": batches.cancel_batch},
    f"{PREFIX}/files": {"POST": files.add_file},
    f"{PREFIX}/files/{{file_id}}": {"GET": files.get_file, "DELETE": files.delete_file},
    f"{PREFIX}/files/{{file_id}}/content": {"GET": files.get_content},
    f"{PREFIX}/dead-letters": {"GET": operations.list_dead_letters},
    f"{PREFIX}/dead-letters/redrive": {"POST": operations.redrive},
    f"{PREFIX}/webhook-endpoints": {"GET": webhooks.list_endpoints, "POST": webhooks.add_endpoint},
    f"{PREFIX}/webhook-endpoints/{{endpoint_id}}": {
        "GET": webhooks.get_endpoint,
        "PATCH": webhooks.change_endpoint,
        "DELETE": webhooks.delete_endpoint,
    },
    f"{PREFIX}/webhook-endpoints/{{endpoint_id}}/secret": {"GET": webhooks.get_endpoint_secret},
    f"{PREFIX}/webhook-endpoints/{{endpoint_id}}/rotate-secret": {"POST": webhooks.rotate_endpoint},
    f"{PREFIX}/webhook-endpoints/{{endpoint_id}}/test": {"POST": webhooks.test_endpoint},
    f"{PREFIX}/webhook-secret": {"GET": webhooks.get_secret},
    f"{PREFIX}/webhook-secret/rotate": {"POST": webhooks.rotate_secret},
    f"{PREFIX}/webhook-deliveries": {"GET": webhooks.list_deliveries},
    f"{PREFIX}/webhook-deliveries/{{delivery_id}}": {"GET": webhooks.get_delivery},
    f"{PREFIX}/webhook-deliveries/{{delivery_id}}/redeliver": {"POST": webhooks.redeliver},
    f"{PREFIX}/queues": {"GET": operations.get_queues},
    f"{PREFIX}/workers": {"GET": operations.get_workers},
    f"{PREFIX}/stats": {"GET": operations.get_stats},
    f"{PREFIX}/scale/{{queue}}": {"GET": operations.get_scale},
    "/livez": {"GET": operations.get_livez},
    "/readyz": {"GET": operations.get_readyz},
    "/metrics": {"GET": operations.get_metrics},
}


def sockets() -> list[BaseRoute]:
    """The WebSockets, ready to be added to an app."""
    return [WebSocketRoute(f"{PREFIX}/jobs/{{job_id}}/ws", events.open_socket)]
