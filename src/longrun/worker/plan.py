"""What a worker is to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longrun.blobs.contract import Blobs
from longrun.models import ModelSpec
from longrun.settings import Settings
from longrun.store.store import Store

#: Chores and the like that run beside the engine.
Background = Callable[[Store], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker runs."""

    identity: str  #: of this process: what leases, reports of deaths and commands go by; never used again
    name: str  #: for people and Celery; one live worker has it
    target: str  #: what runners import
    specs: Sequence[ModelSpec]  #: the models it serves
    settings: Settings
    open_store: Callable[[], Store]  #: called on the engine's thread
    blobs: Blobs
    background: Sequence[Background] = ()
    on_wrong_start: Callable[[], None] = lambda: None  #: called, on the engine's thread, when another worker has got the name meanwhile
    given: dict[str, Any] = field(default_factory=dict, repr=False)  #: settings of the service for models, from `settings.given_to_models`
    models: Mapping[str, ModelSpec] = field(default_factory=dict)  #: by name, all of the application: those that jobs may run as steps
