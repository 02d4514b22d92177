"""Models that run in this process, as children of a bare `Job()`: their inputs and outputs become JSON on the way, as with a server."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from hashlib import sha256
from inspect import isawaitable
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from longrun.clock import new_file_id
from longrun.jobs.file_refs import FileRef
from longrun.media.scan import Scanner
from longrun.models.file_types import File, storing
from longrun.models.spec import Instance, ModelSpec
from longrun.models.steps.port import Port


class LocalFiles:
    """The files of a tree, in memory."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[FileRef, bytes]] = {}

    def store(self, file: File) -> FileRef:
        """Keep its bytes."""
        data, scanner = file.read(), Scanner()
        scanner.feed(data)
        facts, digest = scanner.close(), f"sha-256={b64encode(sha256(data).digest()).decode()}"
        kind = file.content_type or facts.media_type
        ref = FileRef(new_file_id(), "", len(data), digest, kind, file.name, facts.to_json())
        self._files[ref.id] = ref, data
        return ref

    def refs(self) -> dict[str, FileRef]:
        """All of them, by id."""
        return {name: ref for name, (ref, _) in self._files.items()}

    def open(self, ref: FileRef) -> BinaryIO:
        """See `Attached`."""
        return io.BytesIO(self._files[ref.id][1])

    def path(self, ref: FileRef, suffix: str) -> Path:
        """See `Attached`; the copy is the caller's to remove."""
        with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as copy, self.open(ref) as source:
            shutil.copyfileobj(source, copy)
        return Path(copy.name)


@dataclass(slots=True)
class LocalTree:
    """What the jobs of a tree share.

    Args:
        new_job: makes the `Job` of a child: id, model, attempt, its port, and the sums to which what it uses is added.
        signals: values by name; TimeoutError = the wait's time is over.
        sleeps: whether sleeping takes time.
        warn: gets warnings.
    """

    new_job: Callable[[str, str, int, Port, dict[str, float]], Any]
    signals: Mapping[str, Any]
    sleeps: bool
    warn: Callable[[str], None]
    files: LocalFiles = field(default_factory=LocalFiles)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _free: dict[str, list[Instance]] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def next_id(self) -> str:
        """An id for the next child."""
        return f"job_local_{next(self._numbers)}"

    def take(self, spec: ModelSpec) -> Instance | None:
        """A loaded model that nobody runs now."""
        with self.lock:
            free = self._free.get(spec.name)
            return free.pop() if free else None

    def give_back(self, spec: ModelSpec, instance: Instance) -> None:
        """It runs no more."""
        with self.lock:
            self._free.setdefault(spec.name, []).append(instance)


async def output_of(tree: LocalTree, spec: ModelSpec, text: bytes, job: Any, *, on_loop: bool) -> bytes:
    """The output of a model as JSON. `on_loop`: this runs on an event loop; otherwise it never suspends. Raises what the model raises."""
    value = spec.input.parse(orjson.loads(text), files=tree.files.refs() if spec.input.has_files else None, attached=tree.files)
    if spec.is_async:
        work = _async_output(tree, spec, value, job)
        return await work if on_loop else _blocking(work)
    return await asyncio.to_thread(_sync_output, tree, spec, value, job) if on_loop else _sync_output(tree, spec, value, job)


def in_loop() -> bool:
    """Whether an event loop runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _blocking(work: Coroutine[Any, Any, bytes]) -> bytes:
    """What it returns, from a loop of its own; on a thread where this one has a loop already."""
    if not in_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, work).result()


def _sync_output(tree: LocalTree, spec: ModelSpec, value: Any, job: Any) -> bytes:
    instance = tree.take(spec)
    if instance is None:
        instance = spec.instantiate()
        instance.load("cpu")
    try:
        returned = _bound(spec, instance, value, job)()
        if spec.streams:
            with storing(tree.files.store):
                return spec.output.join([spec.output.encode_item(item).data for item in returned])
        return _encoded(tree, spec, returned)
    finally:
        tree.give_back(spec, instance)


async def _async_output(tree: LocalTree, spec: ModelSpec, value: Any, job: Any) -> bytes:
    instance = tree.take(spec)
    if instance is None:
        instance = spec.instantiate()
        loaded = instance.load("cpu")
        if isawaitable(loaded):
            await loaded
    try:
        returned = _bound(spec, instance, value, job)()
        if not spec.streams:
            return _encoded(tree, spec, await returned)
        items: list[bytes] = []
        async for item in returned:
            with storing(tree.files.store):
                items.append(spec.output.encode_item(item).data)
        return spec.output.join(items)
    finally:
        tree.give_back(spec, instance)


def _bound(spec: ModelSpec, instance: Instance, value: Any, job: Any) -> Callable[[], Any]:
    return instance.bind(value, job) if spec.batched is None else instance.bind([value], [job])


def _encoded(tree: LocalTree, spec: ModelSpec, returned: Any) -> bytes:
    if spec.batched is not None:
        (returned,) = returned
        if isinstance(returned, BaseException):
            raise returned
    with storing(tree.files.store):
        return spec.output.encode(returned).data
