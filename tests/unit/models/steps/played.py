"""A worker and a store that are played: jobs with steps run, are killed anywhere, and run again, in one thread."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson

from longrun import Job
from longrun.clock import new_file_id
from longrun.jobs.file_refs import FileRef, reference
from longrun.models.file_types import File
from longrun.models.steps.awaits import Await
from longrun.models.steps.flow import Flow
from longrun.models.steps.journal import History
from longrun.models.steps.outbox import Frame
from longrun.models.steps.start import Start

T = TypeVar("T")


class Crash(BaseException):
    """The process of the parent is gone."""


@dataclass
class World:
    """What outlives a parent's process.

    Args:
        answers: of a model's jobs: an output, or an exception's (code, detail), by its input.
    """

    answers: dict[str, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)
    fields: dict[str, bytes] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    rows: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    inputs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    signals: dict[str, bytes] = field(default_factory=dict)
    epoch: int = 0
    again: int = 0
    attempts: int = 0
    paid: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    trips: int = 0
    warnings: list[str] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)  #: kinds of frames

    def attempt(self, code: Callable[[Job], T], *, crash: int = -1, version: str = "c0") -> T:
        """One attempt of the parent. `crash`: it is gone when it has sent so many frames."""
        self.attempts += 1
        port = PlayedPort(self, version, crash)

        def emit(kind: str, data: dict[str, Any]) -> None:
            if not port.flow.silent:
                self.said.append((kind, data))

        job = Job(id="job_p", attempt=self.attempts, emit=emit, port=lambda: port)
        try:
            result = code(job)
        except Exception:
            port.send(port.flow.end(failed=True))
            raise
        port.send(port.flow.end())
        return result

    def retry(self, *, by_caller: bool = False) -> None:
        """The next epoch begins."""
        self.epoch += 1
        self.again = self.epoch if by_caller else self.again

    def ask(self, calls: list[list[Any]]) -> list[list[Any]]:
        """What the script does."""
        for key, mark, kind, *call in calls:
            entry = self.fields.get(key, b"")
            of = int(entry.split(b" ")[2]) if entry.startswith(b"c ") else self.epoch
            if not entry or (of != self.epoch and self.rows.get(key, ("succeeded",))[0] not in ("succeeded", "pending")):
                self.rows.pop(key, None)
                if key in self.ends:
                    self.ends.remove(key)
                at = len(self.fields) + 1
                if kind == "run":
                    self.fields[key] = f"c job_{at} {self.epoch} {at} {mark}".encode()
                    self.inputs[key] = call[0], orjson.loads(call[1])
                else:
                    self.fields[key] = f"{kind[0] if kind == 'wait' else 't'} 5 {at} {mark} {{}}".encode()
            if kind == "wait" and call[0] in self.signals and key not in self.rows:
                self._end(key, "succeeded", self.signals[call[0]])
        return [self.row(key) for key, *_ in calls]

    def row(self, key: str) -> list[Any]:
        """What is known of a step."""
        state, data = self.rows.get(key, ("pending", b""))
        return [key, state, data, b'{"usd":1}' if state == "succeeded" and key in self.inputs else b"", f"job_of_{key}", 0]

    def end_one(self) -> list[Any] | None:
        """The next child, sleep or wait ends."""
        for key, entry in self.fields.items():
            if key in self.rows or key in self.stopped or entry[:1] not in b"ct":
                continue
            if entry.startswith(b"t"):
                self._end(key, "succeeded", b"null")
            else:
                self._run(key)
            return self.row(key)
        return None

    def _run(self, key: str) -> None:
        model, given = self.inputs[key]
        self.paid.append((model, given))
        answer = self.answers[model](given)
        if isinstance(answer, tuple):
            self._end(key, "failed", orjson.dumps({"code": answer[0], "detail": answer[1]}))
        else:
            self._end(key, "succeeded", answer if isinstance(answer, bytes) else orjson.dumps(answer))

    def _end(self, key: str, state: str, data: bytes) -> None:
        self.rows[key] = state, data
        self.ends.append(key)

    def journal(self, entries: list[tuple[str, bytes]], stop: list[str]) -> list[bytes]:
        """What the script does."""
        for key, text in entries:
            if key.startswith("u:"):
                self.fields[key] = text
                continue
            before = self.fields.get(key, b"").split(b" ")
            if before[0] in (b"", b"b") or (before[0] == b"f" and int(before[1]) != self.epoch):
                self.fields[key] = b"%s %d %d %s" % (text[:1], self.epoch, len(self.fields) + 1, text[2:])
        self.stopped += stop
        return [b'{"usd":1}' if key.removeprefix("u:") in self.inputs else self.fields[key] for key, _ in entries]

    # `Attached`, for what steps have made

    def open(self, ref: FileRef) -> BinaryIO:
        """Note that it was opened."""
        self.opened.append(ref.id)
        return io.BytesIO(self.files[ref.id])

    def path(self, ref: FileRef, suffix: str) -> Path:
        """Nobody asks for it here."""
        raise NotImplementedError

    def store(self, file: File) -> FileRef:
        """Keep a file."""
        data = file.read()
        ref = FileRef(new_file_id(), "key", len(data), f"sha-256={hash(data)}", "image/png")
        self.files[ref.id] = data
        return ref


class PlayedPort:
    """Of a sync parent. Its worker answers at once; a child ends when the parent waits."""

    is_async = False

    def __init__(self, world: World, version: str, crash: int) -> None:
        self.world, self.attached, self._crash = world, world, crash
        start = Start("job_p", "parent", version, world.epoch, world.again)
        fields = dict(world.fields)
        self.flow = Flow(
            start, History.of(fields, list(world.ends)), warn=world.warnings.append, now=lambda: 1_700_000_000 + world.attempts
        )

    async def wait(self, waiting: Await) -> None:
        """See `Port`."""
        while not waiting.done:
            frames = self.flow.turn(idle=True)
            self.send(frames)
            if not waiting.done and not frames and not self.flow.woke:
                row = self.world.end_one()
                assert row is not None, "the job waits for ever"
                self.flow.feed("answer", 0, len(self.world.ends), False, 0, [row])

    async def aside(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return work()

    def store(self, file: File) -> FileRef:
        """See `Port`."""
        return self.world.store(file)

    def store_output(self, data: bytes) -> bytes:
        """See `Port`."""
        return reference(self.world.store(File(data)))

    def send(self, frames: list[Frame]) -> None:
        """To the worker, who answers at once."""
        world = self.world
        for kind, *rest in frames:
            if self._crash == 0:
                raise Crash
            self._crash -= 1
            world.log.append(kind)
            world.trips += kind == "ask"
            if kind == "ask":
                n, _, need, _, calls = rest
                rows = world.ask(calls)
                waits = need > 0 and all(row[1] == "pending" for row in rows)
                self.flow.feed("answer", n, len(world.ends), waits, 0, rows)
            elif kind == "journal":
                n, entries, stop = rest
                self.flow.feed("kept", n, world.journal(entries, stop))
            elif kind == "drop":
                for key in rest[0]:
                    world.fields[f"x:{key}"] = b"1"
                    world.stopped.append(key)
            elif kind == "unsignal":
                world.signals.pop(rest[0], None)
                world.rows.pop(f"s:{rest[0]}", None)
