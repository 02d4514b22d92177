"""What a worker says of itself, for /workers."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import orjson

from longrun.store.facts import FORMAT
from longrun.version import VERSION
from longrun.worker.lane import Lane

if TYPE_CHECKING:
    from longrun.worker.engine import Engine


def announcement(engine: Engine) -> bytes:
    """The worker's entry as JSON."""
    return orjson.dumps(
        {
            "name": engine.plan.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": VERSION,
            "format": FORMAT,
            "lease": engine.settings.lease,
            "heartbeat": engine.settings.heartbeat,
            "stopping": engine.closing,
            "running": len(engine.runs),
            "models": {lane.model: _model(lane) for lane in engine.lanes.values()},
            "jobs": list(engine.runs)[:100],
        }
    )


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
        "failures": failing,
        "last_failure": next((orjson.loads(seat.last_failure)["detail"] for seat in lane.seats if seat.last_failure), None),
    }
