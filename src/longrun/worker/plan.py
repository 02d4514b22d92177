"""What a worker is to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from longrun.blobs.contract import Blobs
from longrun.models import ModelSpec
from longrun.settings import Settings
from longrun.store.store import Store

#: Chores and the like that run beside the engine, given the store.
Background = Callable[[Store], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker runs.

    Args:
        name: the worker's name; unique among live workers.
        target: what runners import.
        specs: the models it serves.
        settings: lease, devices, overrides of processes and concurrency.
        open_store: makes the store; called on the engine's thread.
        blobs: the blob store.
        background: coroutines that run beside the engine.
    """

    name: str
    target: str
    specs: Sequence[ModelSpec]
    settings: Settings
    open_store: Callable[[], Store]
    blobs: Blobs
    background: Sequence[Background] = ()
