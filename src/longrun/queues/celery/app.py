"""The Celery application: every setting with its reason. Measured background: `docs/decisions/0003`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from celery import Celery
from kombu import Exchange, Queue

from longrun.errors import LongrunError
from longrun.queues.celery.tickets import task_name
from longrun.queues.celery.transport import SCHEME, SEPARATOR

BACKEND = "longrun.queues.celery.backend:StoreBackend"


class NotALongrunWorkerError(LongrunError):
    """A Celery worker that was not started by `longrun worker` got a ticket."""


def broker_url(store_url: str) -> str:
    """The store's URL as a broker URL of our transport: `redis://h/0` → `longrun://h/0`, `unix:///p` → `longrun+socket:///p?virtual_host=0`."""
    parts = urlsplit(store_url)
    if parts.scheme != "unix":
        return SCHEME + store_url[len(parts.scheme) :]
    db = next((pair.partition("=")[2] for pair in parts.query.split("&") if pair.startswith("db=")), "0")
    user, at, _ = parts.netloc.rpartition("@")  # `:password` or `user:password`
    return f"{SCHEME}+socket://{user}{at}{parts.path}?virtual_host={db}"


ReadFile = Callable[[str], bytes]


def build_app(store_url: str, prefix: str, lanes: Iterable[tuple[str, str]] = (), read_file: ReadFile | None = None) -> Celery:
    """The application of a worker, or (without lanes) of a tool that looks at workers.

    Args:
        store_url: the store's Redis, which carries the tickets too.
        prefix: prefix of every key.
        lanes: (queue, model) pairs; each becomes a Celery queue `<queue>.<model>` and a task `longrun.<model>`.
        read_file: gives the bytes under a key of the blob store, where large outputs are; None: `AsyncResult` cannot show those.
    """
    app = Celery("longrun", broker=broker_url(store_url), backend=BACKEND, set_as_current=False)
    pairs: Sequence[tuple[str, str]] = sorted(lanes)
    app.conf.update(
        longrun_store=store_url,  # these three are read by the backend
        longrun_prefix=prefix,
        longrun_read_file=read_file,
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if store_url.startswith("rediss:") else None,
        broker_transport_options={
            "global_keyprefix": prefix,  # an application beside us on the same Redis is not touched
            "sep": SEPARATOR,
            "priority_steps": list(range(10)),  # ten lists a lane: none of our priorities share one
            "ack_emulation": False,  # the store knows what runs; kombu's unacked bookkeeping is three commands a ticket for nothing
            "socket_timeout": 15,  # longer than any blocking read (1 s), so only a dead peer trips it
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        task_queues=[_lane(f"{queue}.{model}") for queue, model in pairs] or None,
        task_create_missing_queues=not pairs,
        task_acks_late=True,  # a request counts as acknowledged when its job has left the worker
        task_ignore_result=True,  # the store records outcomes; see the read-only backend
        worker_prefetch_multiplier=1,  # credit is free slots, see TicketQoS
        worker_cancel_long_running_tasks_on_connection_loss=False,  # runs go on while Redis is away; the fence decides
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker for ever
        broker_channel_error_retry=True,  # also for one that refuses: read-only, disk full, out of memory
        worker_hijack_root_logger=False,
        worker_send_task_events=False,  # opt-in (`--events`): three events a job cost a quarter of the throughput
        task_send_sent_event=False,
        event_queue_expires=60.0,
        worker_enable_remote_control=True,
        accept_content=["json"],  # never pickle, whatever a message says
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        enable_utc=True,
    )
    for _, model in pairs:
        _register(app, model)
    return app


def _lane(name: str) -> Queue:
    # Tickets are pushed by our scripts, so nothing is declared: it would cost two trips a lane at every reconnect.
    return Queue(name, Exchange("longrun", type="direct"), routing_key=name, no_declare=True)


def _register(app: Celery, model: str) -> None:
    def refuse() -> None:
        raise NotALongrunWorkerError("Tickets are run by `longrun worker`; a plain Celery worker cannot.")

    app.task(refuse, name=task_name(model), ignore_result=True)
