"""A read-only Celery result backend over the Store: `AsyncResult(job_id)` says what every other reader sees.

| job                                   | Celery state |
|---------------------------------------|--------------|
| scheduled, queued                     | PENDING      |
| running, waiting, canceling           | STARTED      |
| retrying                              | RETRY        |
| succeeded                             | SUCCESS      |
| failed, expired                       | FAILURE      |
| canceled                              | REVOKED      |
| unknown or gone                       | UNKNOWN      |

Stock Celery says PENDING for an id it never saw; this one says UNKNOWN, and `.get()` raises.
"""

from __future__ import annotations

import time
from typing import Any, cast

import orjson
from celery.backends.base import Backend
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from redis import Redis

from longrun.errors import JobNotFound, LongrunError
from longrun.jobs import npy
from longrun.jobs.file_refs import referenced, with_urls
from longrun.jobs.record import expires_at
from longrun.jobs.states import status_of
from longrun.version import API_PREFIX
from longrun.wire import JobProblem

STATES = {
    "scheduled": "PENDING",
    "queued": "PENDING",
    "running": "STARTED",
    "waiting": "STARTED",
    "canceling": "STARTED",
    "retrying": "RETRY",
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "expired": "FAILURE",
    "canceled": "REVOKED",
}
_FIELDS = ("status", "output", "error", "gone", "finished", "expires", "model", "worker", "attempt", "progress", "root")


class JobFailedError(LongrunError):
    """What `AsyncResult.get()` raises for a job that failed or expired: code and detail as in `job.error`."""


def _is_over(gone: bytes | None, expires: bytes | None) -> bool:
    at = expires_at(expires)
    return gone is not None or (at is not None and at <= time.time() * 1000)


class StoreBackend(Backend):  # type: ignore[misc]
    """See the module. Writes by Celery itself are ignored: the Store is the only truth.

    Args:
        app: the Celery application; its `conf.longrun_store` holds the store's URL, its `conf.longrun_prefix` the keys' prefix, and its
            `conf.longrun_read_file` reads files.
    """

    persistent = True
    supports_native_join = False

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._redis = Redis.from_url(app.conf.longrun_store, socket_timeout=5, socket_connect_timeout=3)
        self._prefix = app.conf.longrun_prefix
        self._read_file = app.conf.longrun_read_file

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """State and result of a job in Celery's terms."""
        values = cast(list[bytes | None], self._redis.hmget(f"{self._prefix}job:{task_id}", _FIELDS))
        status, output, error, gone, finished, expires, model, worker, attempt, progress, root = values
        if status is None or _is_over(gone, expires) or not self._is_kept(root):
            return {"status": "UNKNOWN", "result": None, "task_id": task_id, "traceback": None, "children": []}
        state = STATES[status_of(status)]
        result: Any = None
        if state == "SUCCESS":
            result = self._output(output)
        elif state in ("FAILURE", "RETRY") and error is not None:
            problem = JobProblem.of(error, f"{API_PREFIX}/jobs/{task_id}")
            result = JobFailedError(f"{problem.code}: {problem.detail}")
        elif state == "REVOKED":
            result = TaskRevokedError("the job was canceled")
        elif state == "STARTED":
            result = {"progress": orjson.loads(progress) if progress else None}
        return {
            "status": state,
            "result": result,
            "task_id": task_id,
            "traceback": None,
            "children": [],
            "name": f"longrun.{model.decode()}" if model else None,
            "worker": worker.decode() if worker else None,
            "retries": max(0, int(attempt or 0) - 1),
            "date_done": None if finished is None else int(finished) / 1000,
        }

    def _is_kept(self, root: bytes | None) -> bool:
        """Whether the tree of a job is kept, by the job at its top or by one that is the retry of it. None: it is in none."""
        kept = root is None
        while root is not None and not kept:
            names = ("status", "gone", "expires", "retried_by")
            status, gone, expires, retried_by = cast(list[bytes | None], self._redis.hmget(f"{self._prefix}job:{root.decode()}", names))
            kept, root = status is not None and not _is_over(gone, expires), retried_by
        return kept

    def _output(self, stored: bytes | None) -> Any:
        """What the model returned. Its files are named by the paths at which they are served; those need a key."""
        ref = referenced(stored)
        if ref is not None and self._read_file is None:
            raise LongrunError("This output is kept as a file, and this application does not know where files are.")
        output = stored if ref is None else self._read_file(ref.key)
        if output is not None and npy.is_npy(output):
            output = b"".join(npy.to_json([output]))
        return None if output is None else orjson.loads(with_urls(output, lambda file_id: f"{API_PREFIX}/files/{file_id}/content"))

    def wait_for_pending(
        self, result: Any, timeout: float | None = None, interval: float = 0.5, propagate: bool = True, on_interval: Any = None, **_: Any
    ) -> Any:
        """Wait for the job's end, by polling. Raises JobNotFound for a job that does not exist, celery's TimeoutError when time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            meta = self.get_task_meta(result.id)
            if meta["status"] == "UNKNOWN":
                raise JobNotFound(f"There is no job {result.id}.")
            if meta["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
                result._maybe_set_cache(meta)
                return result.maybe_throw(propagate=propagate)
            if deadline is not None and time.monotonic() >= deadline:
                raise CeleryTimeoutError("The job has not ended in time.")
            if on_interval:
                on_interval()
            time.sleep(interval)

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        """Celery would write here; the Store's scripts already have."""

    store_result = mark_as_started = mark_as_done = mark_as_failure = mark_as_retry = mark_as_revoked = _ignore
    forget = add_pending_result = remove_pending_result = on_task_call = _ignore
    cleanup = process_cleanup = _ignore
