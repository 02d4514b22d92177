"""The root of the tree, and the problems that requests are answered with: one class for each code."""

from __future__ import annotations

from typing import Any, ClassVar


class LongrunError(Exception):
    """Root of every exception that Longrun raises on purpose, except `Canceled`."""


class AuthoringError(LongrunError, TypeError):
    """A model is written in a way Longrun cannot serve; the message says what to write instead."""


class SettingsError(LongrunError, ValueError):
    """A setting has a wrong value, or the machine does not fit it; the message names both."""


class Problem(LongrunError):
    """An answer other than success, as a caller sees it.

    Args:
        detail: one or two sentences for this occurrence: what was wrong and what to do.
        errors: for invalid input, one `{"pointer": JSON pointer, "detail": text}` for each finding.
        retry_after: seconds after which a repeated request makes sense (sent as `Retry-After`).
        extra: further members of the problem document, such as `job_id`.
    """

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: list[dict[str, str]] | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors
        self.retry_after = retry_after
        self.extra = extra


class MalformedRequest(Problem):
    """The request cannot be read at all (broken JSON, bad header)."""

    code, status, title = "validation-failed", 400, "The request cannot be read"


class ValidationFailed(Problem):
    """The request was read but its values break a rule; `errors` says which and where."""

    code, status, title = "validation-failed", 422, "The input is not valid"


class UnknownModel(Problem):
    """No model of this name is served here."""

    code, status, title = "unknown-model", 404, "No such model"


class PayloadTooLarge(Problem):
    """The body, or one part of it, is over its limit."""

    code, status, title = "payload-too-large", 413, "The request is too large"


class UpgradeRequired(Problem):
    """The route speaks WebSocket only, and the request does not ask for one."""

    code, status, title = "upgrade-required", 426, "WebSocket only"


class UnsupportedMedia(Problem):
    """The body is not of a content type this route reads."""

    code, status, title = "unsupported-media", 415, "Unsupported content type"


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key is bound to another request."""

    code, status, title = "idempotency-key-reused", 422, "Idempotency-Key used with another request"


class Unauthenticated(Problem):
    """No key, or a wrong one."""

    code, status, title = "unauthenticated", 401, "Authentication required"


class Forbidden(Problem):
    """The Host or the Origin of the request is not allowed."""

    code, status, title = "forbidden", 403, "Not allowed"


class QueueFull(Problem):
    """The lane holds as many waiting jobs as the operator allows."""

    code, status, title, retryable = "queue-full", 503, "The queue is full", True


class StoreUnavailable(Problem):
    """The store did not answer in time. Nothing is known to have changed."""

    code, status, title, retryable = "store-unavailable", 503, "The store does not answer", True


class SubmitUnconfirmed(StoreUnavailable):
    """The store did not confirm the submit; the job named in `job_id` may exist."""

    code, title = "submit-unconfirmed", "The submit was not confirmed"


class StorageFull(StoreUnavailable):
    """The store has no room for another record. Nothing was stored."""

    code, status, title = "storage-full", 507, "The store is full"


class BlobsUnavailable(Problem):
    """The folder or bucket that holds files cannot be used now: away, gone, or it refuses our credentials. Nothing was stored."""

    code, status, title, retryable = "storage-unavailable", 503, "The storage of files does not answer", True


class BlobsFull(Problem):
    """The folder or bucket that holds files has no room. Nothing was stored."""

    code, status, title, retryable = "storage-full", 507, "The storage of files is full", True


class StoreUnsafe(Problem):
    """The store is set up so that accepted jobs could be lost. Nothing was stored; the log and /readyz say what is wrong."""

    code, status, title, retryable = "store-unsafe", 503, "The store is not safe", True


class JobNotFound(Problem):
    """No such job, or not one of yours."""

    code, status, title = "job-not-found", 404, "No such job"


class JobLost(JobNotFound):
    """The job was accepted, and the store has lost it, as after a failover or a power cut."""

    code, title = "job-lost", "The job was lost"


class JobGone(Problem):
    """The job existed; its record was deleted or has expired."""

    code, status, title = "job-gone", 410, "The job is gone"


class BatchNotFound(Problem):
    """No such batch, or not one of yours."""

    code, status, title = "batch-not-found", 404, "No such batch"


class BatchLost(BatchNotFound):
    """The batch was accepted, and the store has lost it, as after a failover or a power cut."""

    code, title = "batch-lost", "The batch was lost"


class BatchGone(Problem):
    """The batch existed; its record has expired."""

    code, status, title = "batch-gone", 410, "The batch is gone"


class WebhookEndpointNotFound(Problem):
    """No such webhook endpoint, or not one of yours."""

    code, status, title = "webhook-endpoint-not-found", 404, "No such webhook endpoint"


class WebhookDeliveryNotFound(Problem):
    """No such webhook delivery, or not one of yours."""

    code, status, title = "webhook-delivery-not-found", 404, "No such webhook delivery"


class EventsLost(Problem):
    """The store has lost events of the job that the caller has: those that follow do not belong to them."""

    code, status, title = "events-lost", 409, "Events were lost"


class QuotaExceeded(Problem):
    """The limit on the number of these is reached."""

    code, status, title = "quota-exceeded", 409, "There are too many"


class FileNotFound(Problem):
    """There is no such file, or it is another tenant's."""

    code, status, title = "file-not-found", 404, "There is no such file"


class FileGone(Problem):
    """The file was deleted or has expired."""

    code, status, title = "file-gone", 410, "The file is gone"


class RangeNotSatisfiable(Problem):
    """The range begins after the end of the file."""

    code, status, title = "range-not-satisfiable", 416, "There are no such bytes"


class UploadTooSlow(Problem):
    """An upload stood still for too long."""

    code, status, title, retryable = "upload-too-slow", 408, "The upload stood still", True


class NotRetryable(Problem):
    """Only a failed, canceled or expired job can be retried."""

    code, status, title = "not-retryable", 409, "The job cannot be retried"


class NotFinished(Problem):
    """The operation needs a finished job."""

    code, status, title, retryable = "not-finished", 409, "The job has not finished", True


class NotARoot(Problem):
    """The job is a step of another one, and this is done with the job at the top of the tree, which the member `root` names."""

    code, status, title = "not-a-root", 409, "The job is a step of another one"


class AlreadyAnswered(Problem):
    """The job has another answer to this already."""

    code, status, title = "already-answered", 409, "It has been answered"


class WaitTimeout(Problem):
    """The time in which the job waited for this answer is over."""

    code, status, title = "wait-timeout", 409, "The time for the answer is over"


class JobEnded(Problem):
    """The job has ended, and waits for no answer."""

    code, status, title = "job-ended", 409, "The job has ended"


class JobUnsuccessful(Problem):
    """The job ended without an output; the problem shown is the job's own."""

    code, status, title = "job-unsuccessful", 424, "The job did not succeed"
