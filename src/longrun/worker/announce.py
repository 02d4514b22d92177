"""What a worker says of itself, for /workers, and how it comes to its name."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import orjson

from longrun.errors import SettingsError, StoreUnavailable
from longrun.log import Log
from longrun.settings import Settings
from longrun.store.claims import Claims
from longrun.store.formats import FORMAT, OLDEST
from longrun.store.store import Store
from longrun.version import VERSION
from longrun.worker.dispatch.lane import Lane
from longrun.worker.plan import WorkerPlan
from longrun.worker.supervise.memory import memory_of
from longrun.worker.supervise.seat import Seat
from longrun.worker.tables import Tables

log = Log("longrun.worker")
#: Seconds between two looks whether a name is free.
_LOOK = 0.25


async def take_name(claims: Claims, identity: str, name: str, settings: Settings) -> None:
    """Take the name that this worker was given: at once, or when a worker that has it goes within a lease. Waits for the store.

    Raises:
        SettingsError: a worker that lives has the name.
    """
    entry, end = announcement(identity, name, Tables(), settings, {}), 0.0
    while True:
        try:
            other = await claims.announce(identity, entry, name=name, listed=False)
        except StoreUnavailable:
            log.warning("the store does not answer; a worker with a name of its own waits for it", name=name)
            continue
        if other is None:
            return
        if not end:
            end = time.monotonic() + settings.lease
            log.warning("another worker has this name; waiting for its end", **other_worker(other), seconds=settings.lease)
        elif time.monotonic() >= end:
            has = other_worker(other)
            where = f"process {has['pid']} on {has['host']}"
            raise SettingsError(f"--name {name}: a worker of this name runs already ({where}): stop it, or choose another name")
        await asyncio.sleep(_LOOK)


async def announce_for_ever(plan: WorkerPlan, store: Store, tables: Tables) -> None:
    """Say it again and again, until another worker has the name."""
    settings = plan.settings
    while True:
        try:
            held = await asyncio.to_thread(memory_of, {seat.pid for seat in tables.seats})
            await store.ping()  # once there is a connection, the format of the data is known
            entry = announcement(plan.identity, plan.name, tables, settings, held, format=store.format)
            other = await store.claims.announce(plan.identity, entry, name=plan.name)
        except Exception as error:
            log.warning("worker could not announce itself", error=str(error))
        else:
            if other is not None:
                # The store did not hear of us for a lease. Our runs go by our identity: they are ours still, where their leases held.
                plan.on_wrong_start()
                log.error("another worker has got the name of this one, which stops", **other_worker(other))
                return
        await asyncio.sleep(settings.heartbeat)


def other_worker(entry: bytes) -> dict[str, Any]:
    """What a log or message says of another worker: name, host, pid, identity."""
    announced = orjson.loads(entry)
    return {key: announced.get(key) for key in ("name", "host", "pid", "identity")}


def announcement(identity: str, name: str, tables: Tables, settings: Settings, held: Mapping[int, int], *, format: int = FORMAT) -> bytes:
    """The worker's entry as JSON; `held`: bytes of memory by runner (process id); `format`: that of the data."""
    return orjson.dumps(
        {
            "name": name,
            "identity": identity,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": VERSION,
            "format": format,  # 0.1.0 looks at this, and starts beside workers of format 1 alone
            "formats": (OLDEST, FORMAT),
            "lease": settings.lease,
            "heartbeat": settings.heartbeat,
            "stopping": tables.closing,
            "running": len(tables.runs),
            "runners": [_runner(seat, held.get(seat.pid)) for seat in tables.seats if seat.process is not None],
            "models": {lane.model: _model(lane) for lane in tables.lanes.values()},
            "jobs": list(tables.runs)[:100],
        }
    )


def _runner(seat: Seat, held: int | None) -> dict[str, Any]:
    """One runner; of GPU memory what PyTorch says, so that nothing is known of other libraries."""
    allocated, reserved, peak = seat.gpu_memory or (None, None, None)
    return {
        "pid": seat.pid,
        "models": seat.models,
        "device": seat.place.device,
        "gpus": seat.place.env.get("CUDA_VISIBLE_DEVICES"),
        "threads": seat.place.threads,
        "loaded": seat.loaded,
        "running": sum(map(len, seat.aboard.values())),
        "memory": held,
        "gpu_memory": None if seat.gpu_memory is None else {"allocated": allocated, "reserved": reserved, "peak": peak},
    }


def _model(lane: Lane) -> dict[str, Any]:
    ready = [seat for seat in lane.seats if seat.serves(lane.model)]
    failing = max(seat.failures for seat in lane.seats)
    state = "ready" if ready else "unhealthy" if failing >= 3 else "loading"
    return {
        "queue": lane.spec.queue,
        "state": state,
        "runners": len(lane.seats),
        "ready": len(ready),
        "devices": sorted({seat.place.device for seat in lane.seats}),
        "concurrency": lane.concurrency,
        "slots": lane.capacity,
        "running": lane.held,
        "load_s": max((seat.ready[lane.model] for seat in ready), default=None),
        "warmup_s": max((seat.warmed[lane.model] for seat in ready), default=None),
        "batch_size": min((lane.batch_size(seat) for seat in ready), default=None) if lane.batched is not None else None,
        "batches": {"size": lane.sizes.snapshot(), "wait_s": lane.waits.snapshot()} if lane.batched is not None else None,
        "failures": failing,
        "last_failure": next((orjson.loads(seat.last_failure)["detail"] for seat in lane.seats if seat.last_failure), None),
    }
