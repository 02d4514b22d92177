"""A job as the server last showed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from longrun.client.events import Event
from longrun.client.wire import Json
from longrun.errors import JobFailed


class BatchOptions(TypedDict, total=False):
    """What a batch may say besides the inputs; what is left out is for the model and the server to decide."""

    priority: int  #: 0 to 9, 9 the most urgent
    tags: Sequence[str]  #: to list jobs by
    metadata: dict[str, Any]  #: given back with the job
    policy: dict[str, Any]  #: limits for the job, or each job of the batch, such as `{"timeout": 60, "max_attempts": 3}`
    webhook: Any  #: who is called at the end
    #: The same key with the same input is the same job, also days later. Without one, every submit has a fresh key of its own.
    idempotency_key: str | None


class Options(BatchOptions, total=False):
    """What a submit may say besides the input."""

    delay: float  #: seconds until the job is queued


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Args:
        fraction: 0 to 1; None = not told.
        step: what it is at.
        message: more about that.
    """

    fraction: float | None = None
    step: str | None = None
    message: str | None = None


class Record:
    """What a job and a batch have in common, as the server last showed it.

    Attributes:
        body: the JSON as it came, also with members that this version of the client does not know.
    """

    def __init__(self, body: Json) -> None:
        self.body = body

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.body.get('model')} {self.status}>"

    @property
    def id(self) -> str:
        """`job_` or `batch_`, and 32 hexadecimal digits."""
        return str(self.body["id"])

    @property
    def status(self) -> str:
        """Its state, such as `queued`, `running`, `succeeded`. Later servers may have more: go by `terminal`."""
        return str(self.body["status"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.body["model"])

    @property
    def terminal(self) -> bool:
        """Whether it has ended, however that was. What has ended never changes."""
        return bool(self.body["terminal"])

    @property
    def priority(self) -> int:
        """0 to 9, 9 the most urgent."""
        return int(self.body["priority"])

    @property
    def tags(self) -> list[str]:
        """As submitted."""
        return list(self.body.get("tags") or [])

    @property
    def metadata(self) -> Json:
        """As submitted."""
        return dict(self.body.get("metadata") or {})

    @property
    def policy(self) -> Json:
        """The limits in force."""
        return dict(self.body.get("policy") or {})

    @property
    def created_at(self) -> str | None:
        """When it was accepted: RFC 3339, UTC, as `datetime.fromisoformat` reads it."""
        return self.body.get("created_at")

    @property
    def finished_at(self) -> str | None:
        """When it ended; None = it has not."""
        return self.body.get("finished_at")


class Snapshot(Record):
    """A job as the server last showed it: in an answer, or in the `done` event. `refresh()` asks again."""

    @property
    def succeeded(self) -> bool:
        """Whether it has ended with an output."""
        return self.status == "succeeded"

    @property
    def progress(self) -> Progress | None:
        """How far the current attempt is; None = it has told nothing."""
        told = self.body.get("progress")
        return None if told is None else Progress(told.get("fraction"), told.get("step"), told.get("message"))

    @property
    def position(self) -> int | None:
        """Its place in its lane while it is queued, 1 = next."""
        return self.body.get("position")

    @property
    def output(self) -> Any:
        """What the model returned, as far as this answer holds it; `result()` fetches it where it does not (lists, large outputs)."""
        return self._with_files(self.body.get("output"))

    def _with_files(self, value: Any) -> Any:
        """A value of an output, with what can be done with the files in it."""
        return value

    @property
    def error(self) -> Json | None:
        """The problem of a job that did not succeed, or of the latest attempt while `retrying`."""
        return self.body.get("error")

    @property
    def attempt(self) -> int:
        """The current or last attempt; 0 before the first."""
        return int(self.body["attempt"])

    @property
    def usage(self) -> Json:
        """Seconds and other figures: `queue_s`, `run_s` and what the model reported."""
        return dict(self.body.get("usage") or {})

    @property
    def started_at(self) -> str | None:
        """When the latest attempt started; None = none has."""
        return self.body.get("started_at")

    @property
    def retry_of(self) -> str | None:
        """Id of the job that this one repeats."""
        return self.body.get("retry_of")

    def see(self, event: Event) -> None:
        """Take over what an event tells of the job as a whole."""
        if event.type == "done" and event.data.get("id") == self.id:
            self.body = event.data

    def check(self) -> None:
        """Raises JobFailed when the job has ended without an output."""
        if self.terminal and not self.succeeded:
            raise JobFailed(self, self.error or {})
