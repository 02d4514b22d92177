"""Jobs and batches as the server last showed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from longrun.client.http.steps import Json
from longrun.client.progress_bar import ProgressBar
from longrun.client.protocol.calls import path_of
from longrun.client.protocol.events import Event, StepPiece
from longrun.client.protocol.wait import LONG_POLL, Awaited
from longrun.errors import JobFailed

C = TypeVar("C")  #: Caller or AsyncCaller

_BAR_POLL = 2  #: seconds between two answers while somebody watches a bar


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job.

    Args:
        fraction: 0 to 1; None = not known.
        step: what it is doing.
        message: more about that.
    """

    fraction: float | None = None
    step: str | None = None
    message: str | None = None


class View(Generic[C]):
    """The members that a job and a batch have in common.

    Attributes:
        body: the JSON as it came, also with members that this version of the client does not know.
    """

    def __init__(self, caller: C, body: Json) -> None:
        self._caller, self.body = caller, body

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
        """Whether it has ended, in whatever way. It then never changes."""
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


class JobView(View[C]):
    """A job as the server last showed it: in an answer, or in the `done` event. `refresh()` asks again."""

    @property
    def succeeded(self) -> bool:
        """Whether it has ended with an output."""
        return self.status == "succeeded"

    @property
    def progress(self) -> Progress | None:
        """How far the current attempt is; None = the model has reported nothing."""
        shown = self.body.get("progress")
        return None if shown is None else Progress(shown.get("fraction"), shown.get("step"), shown.get("message"))

    @property
    def position(self) -> int | None:
        """Its place in its lane while it is queued, 1 = next."""
        return self.body.get("position")

    @property
    def output(self) -> Any:
        """What the model returned, as far as this answer holds it; `result()` fetches it where it does not (lists, large outputs)."""
        return self._with_files(self.body.get("output"))

    def _with_files(self, value: Any) -> Any:
        """A value of an output, with an object in place of each file's JSON."""
        return value

    def _piece(self, piece: Any) -> Any:
        """A piece of a stream, likewise."""
        if isinstance(piece, StepPiece):
            return StepPiece(piece.step, self._with_files(piece.value))
        return self._with_files(piece)

    @property
    def asks(self) -> list[Json]:
        """What it waits to be answered: `{name, ask, schema, until, urls}` each; left out of lists. `signal()` answers."""
        return [{**each, "ask": self._with_files(each["ask"])} for each in self.body.get("asks") or []]

    @property
    def parent(self) -> str | None:
        """Id of the job whose step it is; None = it is nobody's."""
        return self.body.get("parent")

    @property
    def root(self) -> str | None:
        """Id of the job at the top of the tree that it is a step in; None = it is none."""
        return self.body.get("root")

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
        """Seconds and other figures: `queue_s`, `wait_s`, `run_s` and what the model reported."""
        return dict(self.body.get("usage") or {})

    @property
    def started_at(self) -> str | None:
        """When the latest attempt started; None = no attempt has."""
        return self.body.get("started_at")

    @property
    def retry_of(self) -> str | None:
        """Id of the job that this one repeats."""
        return self.body.get("retry_of")

    def see(self, event: Event) -> None:
        """Take over the job's JSON from its last event."""
        if event.type == "done" and event.data.get("id") == self.id:
            self.body = event.data

    def check(self) -> None:
        """Raises JobFailed when the job has ended without an output."""
        if self.terminal and not self.succeeded:
            raise JobFailed(self, self.error or {})


class BatchView(View[C]):
    """A batch as the server last showed it. `refresh()` asks again."""

    @property
    def counts(self) -> dict[str, int]:
        """How many of its jobs: `total`, `pending`, `succeeded`, `failed`, `canceled`, `expired`."""
        return dict(self.body["counts"])

    @property
    def progress(self) -> float:
        """How much of it has ended, 0 to 1."""
        return float(self.body["progress"])

    def awaited(self, bar: ProgressBar) -> Awaited:
        """For `await_end`; each answer on the way becomes `body` and is shown on `bar`."""

        def see(body: Json) -> None:
            self.body = body
            done = self.counts["total"] - self.counts["pending"]
            bar.reach(done, done - self.counts["succeeded"])

        return Awaited(path_of("batches", self.id), f"batch {self.id}", _BAR_POLL if bar.shown else LONG_POLL, see)
