"""The events of a job: parsed from a stream, and the pieces of output among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from longrun.errors import StreamBroken


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's log. The types and their data are in `docs/http.md`; ignore types that you do not know.

    Args:
        seq: 1, 2, 3…
        attempt: the attempt that wrote it; 0 before the first.
        at: when, RFC 3339.
        type: such as `queued`, `started`, `progress`, `output`, `log`, `retrying`, `done`. Of type `error` none is given: it is raised.
        data: its members.
    """

    seq: int
    attempt: int
    at: str
    type: str
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Event:
        """The event of its JSON."""
        return cls(body["seq"], body.get("attempt", 0), body.get("at", ""), body["type"], body.get("data") or {})

    @property
    def reach(self) -> int:
        """The last seq that this event stands for: its own; of a `gap`, which replaces events that are no longer kept, its `to`."""
        return max(self.seq, int(self.data.get("to", 0))) if self.type == "gap" else self.seq


class EventParser:
    """Reads server-sent events (WHATWG HTML, 9.2.6) whose `data` is JSON, out of pieces that may be cut anywhere.

    Only the line ends that the format knows (LF, CR LF, CR) end a line: JSON text may contain U+2028 and its like, at which Python's
    `splitlines`, and with it httpx and httpx-sse, would cut an event in two.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are complete with this piece."""
        if self._after_cr and piece:
            # The LF of a CR LF that was cut in the middle ends nothing a second time.
            piece, self._after_cr = piece.removeprefix(b"\n"), False
        found: list[Event] = []
        self._after_cr = piece.endswith(b"\r")
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._rest += line
            event = self._line(bytes(self._rest))
            self._rest.clear()
            if event is not None:
                found.append(event)
        self._rest += rest
        return found

    def _line(self, line: bytes) -> Event | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            return Event.of(json.loads(data.decode("utf-8", errors="replace")))
        return None


@dataclass(frozen=True, slots=True)
class StepPiece:
    """A value that a step of a job has yielded.

    Args:
        step: the key of the step, as in `RemoteJob.tree()`.
        value: what it yielded.
    """

    step: str
    value: Any


class Pieces:
    """The values of the `output` events of one attempt.

    Args:
        attempt: the attempt whose values count; those of earlier ones are left out.
        on_restart: called with the number of a later attempt that has begun, when values of an earlier one were given.
        steps: give also the values of the steps, as `StepPiece`. They count whichever attempt it is.
    """

    def __init__(self, attempt: int, on_restart: Callable[[int], object] | None, *, steps: bool = False) -> None:
        self._attempt, self._on_restart, self._steps = attempt, on_restart, steps
        self._given = False

    def take(self, event: Event) -> list[Any]:
        """What to give for this event: one value or none.

        Raises:
            StreamBroken: values were given and do not count any longer, and there is no `on_restart`; or values are missing.
        """
        if event.type == "gap":
            raise StreamBroken(f"the events {event.data.get('from')} to {event.data.get('to')} are no longer kept")
        if event.attempt > self._attempt:
            if self._given and self._on_restart is None:
                raise StreamBroken(
                    f"attempt {event.attempt} has begun: what attempt {self._attempt} has given counts no longer", event.attempt
                )
            if self._given and self._on_restart is not None:
                self._on_restart(event.attempt)
            self._attempt, self._given = event.attempt, False
        if event.type == "step_output" and self._steps:
            return [StepPiece(str(event.data.get("step")), event.data.get("value"))]
        if event.type != "output" or event.attempt < self._attempt:
            return []
        self._given = True
        return [event.data.get("value")]
