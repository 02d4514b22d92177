"""All routes of the contract (HTTP.md)."""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute

from longrun.api.pages import Table
from longrun.api.routes import batches, events, files, jobs, models, operations, submit, webhooks
from longrun.version import API_PREFIX

#: One entry a path, so that `Allow` names all its methods.
TABLE: Table = {
    f"{API_PREFIX}/models/{{model}}/jobs": {"POST": submit.submit_job},
    f"{API_PREFIX}/models/{{model}}/batches": {"POST": batches.submit_batch},
    f"{API_PREFIX}/models": {"GET": models.list_models},
    f"{API_PREFIX}/models/{{model}}": {"GET": models.get_model},
    f"{API_PREFIX}/jobs": {"GET": jobs.list_jobs},
    f"{API_PREFIX}/jobs/{{job_id}}": {"GET": jobs.get_job, "DELETE": jobs.delete_job},
    f"{API_PREFIX}/jobs/{{job_id}}/result": {"GET": jobs.get_result},
    f"{API_PREFIX}/jobs/{{job_id}}/output": {"GET": jobs.get_output},
    f"{API_PREFIX}/jobs/{{job_id}}/events": {"GET": events.get_events},
    f"{API_PREFIX}/jobs/{{job_id}}/ws": {"GET": events.get_socket},
    f"{API_PREFIX}/jobs/{{job_id}}/attempts": {"GET": jobs.get_attempts},
    f"{API_PREFIX}/jobs/{{job_id}}/cancel": {"POST": jobs.cancel_job},
    f"{API_PREFIX}/jobs/{{job_id}}/retry": {"POST": jobs.retry_job},
    f"{API_PREFIX}/batches": {"GET": batches.list_batches},
    f"{API_PREFIX}/batches/{{batch_id}}": {"GET": batches.get_batch},
    f"{API_PREFIX}/batches/{{batch_id}}/results": {"GET": batches.get_results},
    f"{API_PREFIX}/batches/{{batch_id}}/cancel": {"POST": batches.cancel_batch},
    f"{API_PREFIX}/files": {"POST": files.add_file},
    f"{API_PREFIX}/files/{{file_id}}": {"GET": files.get_file, "DELETE": files.delete_file},
    f"{API_PREFIX}/files/{{file_id}}/content": {"GET": files.get_content},
    f"{API_PREFIX}/dead-letters": {"GET": operations.list_dead_letters},
    f"{API_PREFIX}/dead-letters/redrive": {"POST": operations.redrive},
    f"{API_PREFIX}/webhook-endpoints": {"GET": webhooks.list_endpoints, "POST": webhooks.add_endpoint},
    f"{API_PREFIX}/webhook-endpoints/{{endpoint_id}}": {
        "GET": webhooks.get_endpoint,
        "PATCH": webhooks.change_endpoint,
        "DELETE": webhooks.delete_endpoint,
    },
    f"{API_PREFIX}/webhook-endpoints/{{endpoint_id}}/secret": {"GET": webhooks.get_endpoint_secret},
    f"{API_PREFIX}/webhook-endpoints/{{endpoint_id}}/rotate-secret": {"POST": webhooks.rotate_endpoint},
    f"{API_PREFIX}/webhook-endpoints/{{endpoint_id}}/test": {"POST": webhooks.test_endpoint},
    f"{API_PREFIX}/webhook-secret": {"GET": webhooks.get_secret},
    f"{API_PREFIX}/webhook-secret/rotate": {"POST": webhooks.rotate_secret},
    f"{API_PREFIX}/webhook-deliveries": {"GET": webhooks.list_deliveries},
    f"{API_PREFIX}/webhook-deliveries/{{delivery_id}}": {"GET": webhooks.get_delivery},
    f"{API_PREFIX}/webhook-deliveries/{{delivery_id}}/redeliver": {"POST": webhooks.redeliver},
    f"{API_PREFIX}/queues": {"GET": operations.get_queues},
    f"{API_PREFIX}/workers": {"GET": operations.get_workers},
    f"{API_PREFIX}/stats": {"GET": operations.get_stats},
    f"{API_PREFIX}/scale/{{queue}}": {"GET": operations.get_scale},
    "/livez": {"GET": operations.get_livez},
    "/readyz": {"GET": operations.get_readyz},
    "/metrics": {"GET": operations.get_metrics},
}


def sockets() -> list[BaseRoute]:
    """The WebSockets, ready to be added to an app."""
    return [WebSocketRoute(f"{API_PREFIX}/jobs/{{job_id}}/ws", events.open_socket)]
