"""What a worker is to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from longrun.blobs.contract import Blobs
from longrun.models import ModelSpec
from longrun.settings import Settings
from longrun.store.store import Store

#: Chores and the like that run beside the engine.
Background = Callable[[Store], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker runs."""

    name: str  #: unique among live workers
    target: str  #: what runners import
    specs: Sequence[ModelSpec]  #: the models it serves
    settings: Settings
    open_store: Callable[[], Store]  #: called on the engine's thread
    blobs: Blobs
    background: Sequence[Background] = ()
