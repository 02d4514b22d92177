"""`await longrun.submit(Model, …)`: the service inside another application, without an HTTP hop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson
from pydantic import BaseModel

from longrun import wire
from longrun.clock import new_identity
from longrun.errors import JobUnsuccessful
from longrun.models.file_types import File, as_file
from longrun.service import control, read
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.service.presence import stay_announced
from longrun.service.request import parse_request
from longrun.service.signals import asks_of
from longrun.service.submit import submit as accept
from longrun.service.uploads import Uploads
from longrun.service.watch import whole_output
from longrun.settings import load_settings
from longrun.steps import await_steps
from longrun.wiring import open_parts

TENANT = "default"
#: One set of parts for each event loop: connections belong to the loop they were opened on.
_parts: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Parts, asyncio.Task[None]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A submitted job."""

    id: str
    tenant: str = TENANT

    async def view(self) -> dict[str, Any]:
        """The job as `GET /jobs/{id}` shows it. Raises JobNotFound, JobGone."""
        caller = _caller(self.tenant)
        job = await caller.urls.job(await read.get(caller, self.id), caller.base)
        view: dict[str, Any] = orjson.loads(wire.encode(wire.Job.of(job, caller.base, asks=await asks_of(caller, job))))
        return view

    async def result(self, timeout: float = 3600.0) -> Any:
        """Wait for the end and return the output.

        Args:
            timeout: seconds to wait.

        Raises:
            TimeoutError: it has not ended by then (it goes on).
            JobUnsuccessful: it failed, was canceled or expired; `extra` holds the members of its problem.
            JobNotFound, JobGone
        """
        caller = _caller(self.tenant)
        job = await read.wait(caller, self.id, timeout=timeout)
        if not job.terminal:
            raise TimeoutError(f"job {self.id} has not ended within {timeout:g} s")
        if job.error is not None:
            problem = msgspec.to_builtins(wire.JobProblem.of(job.error, f"{caller.base}/jobs/{self.id}"))
            raise JobUnsuccessful(f"{problem['code']}: {problem.pop('detail')}", **problem, job_id=self.id)
        output = await whole_output(caller, job)
        return None if output is None else orjson.loads(await caller.urls.rendered(output, self.tenant, caller.base))

    async def cancel(self) -> str:
        """Ask the job to stop; its status after that. Raises JobNotFound, JobGone."""
        return (await control.cancel(_caller(self.tenant), self.id)).status.value


async def submit(
    model: Any,
    input: Mapping[str, Any] | BaseModel | None = None,
    /,
    *,
    priority: int = 5,
    delay: float = 0.0,
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    webhook: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
    tenant: str = TENANT,
    **fields: Any,
) -> JobHandle:
    """Submit a job from inside an application (settings from the environment, as for `longrun.create_app`), or from inside a model.

    Args:
        model: a model class or function, or the name of a model that this process has imported.
        input: the input; `fields` given as keywords are added to it. Files in it may be `File`s, bytes, Pillow images or `pathlib.Path`s.
        priority: 0 to 9, 9 the most urgent.
        delay: seconds until the job is queued.
        tags, metadata, policy, webhook: as in `POST /models/{model}/jobs`.
        idempotency_key: the same key with the same input gives the same job.
        tenant: whose job it is.

    Raises:
        UnknownModel, ValidationFailed, IdempotencyKeyReused, QueueFull, StorageFull, StoreUnsafe, StoreUnavailable, SubmitUnconfirmed
        SettingsError: there is no store; or this is a model, and LONGRUN_MODELS_MAY_SUBMIT is 0.
    """
    caller = _caller(tenant)
    data = input.model_dump(mode="json", exclude_unset=True) if isinstance(input, BaseModel) else dict(input or {})
    body: dict[str, Any] = {"priority": priority, "delay": float(delay)}
    body |= {
        name: value for name, value in (("tags", list(tags)), ("metadata", metadata), ("policy", policy), ("webhook", webhook)) if value
    }
    name = model if isinstance(model, str) else model.__longrun__.name
    caller.models.get(name)  # raises before a file is stored
    async with Uploads(caller) as uploads:
        body["input"] = {name: await _with_ids(uploads, value) for name, value in (data | fields).items()}
        submitted = await accept(caller, name, parse_request(body), uploads, idempotency_key=idempotency_key)
    return JobHandle(submitted.job.id, tenant)


async def _with_ids(uploads: Uploads, value: Any) -> Any:
    """A value with its files stored and named by their ids."""
    if isinstance(value, Mapping):
        return {name: await _with_ids(uploads, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [await _with_ids(uploads, each) for each in value]
    file = File(value) if isinstance(value, Path) else as_file(value)
    if file is None:
        return value
    if file.id is not None:
        return file.id
    return (await uploads.receive(_pieces(file), filename=file.name)).ref.id


async def _pieces(file: File) -> AsyncIterator[bytes]:
    pieces = await asyncio.to_thread(file.chunks)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def close() -> None:
    """Close the connections that `submit` and its handles opened on this event loop; they open again when needed.

    For the end of your application's lifespan. One that is about to exit anyway need not call it.
    """
    parts, watch = _parts.pop(asyncio.get_running_loop(), (None, None))
    if parts is not None and watch is not None:
        watch.cancel()
        watching = asyncio.gather(watch, return_exceptions=True)
        await await_steps((("stop looking at the store", lambda: watching), ("close the parts", parts.close)))


async def _watch(parts: Parts) -> None:
    async def announce() -> None:
        await stay_announced(parts.store, parts.settings, "app", new_identity())
        parts.admission.close()

    await asyncio.gather(parts.admission.watch(), announce())


def _caller(tenant: str) -> Caller:
    loop = asyncio.get_running_loop()
    if loop not in _parts:
        parts = open_parts(load_settings())
        _parts[loop] = parts, loop.create_task(_watch(parts))
    return Caller(_parts[loop][0], tenant)
