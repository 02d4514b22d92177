"""Builds things from settings: the one place that knows all parts."""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from longrun import embedded
from longrun.blobs.open import open_blobs
from longrun.chores.run import run_chores
from longrun.clock import new_identity
from longrun.errors import SettingsError, StoreUnavailable
from longrun.models import ModelSpec, Registry, default_registry, load_target, models_beside
from longrun.models.patches import refuse_patches
from longrun.observe.slow_imports import report_slow_import
from longrun.queues.celery.tickets import ticket_template
from longrun.service.admission import Admission, Inspection, ReadDisk, inspect
from longrun.service.parts import Parts
from longrun.service.presence import stay_announced, while_known
from longrun.service.store_checks import Finding, refusals
from longrun.settings import Settings, check_store_may_be_used, given_to_models, load_settings
from longrun.store.losses import Loss
from longrun.store.records import LaneDepth
from longrun.store.store import Store
from longrun.version import API_PREFIX

if TYPE_CHECKING:
    from fastapi import FastAPI

OnWrongStart = Callable[[], None]


def find_store_url(settings: Settings) -> str:
    """The store's URL: `redis_url`, or the embedded Valkey that runs in `data`.

    Raises:
        SettingsError: neither is there; or this is a model's process, and models may not use the store.
    """
    check_store_may_be_used()
    url = settings.redis_url or embedded.locate(settings.data)
    if not url:
        raise SettingsError(
            f"No store: no embedded Valkey runs in {settings.data}, and LONGRUN_REDIS_URL is not set. "
            "Start `longrun serve app.py` there first, or set LONGRUN_REDIS_URL=redis://host:6379/0."
        )
    return url


def open_store(settings: Settings, url: str | None = None, *, timeout: float | None = None) -> Store:
    """The store of these settings; no I/O happens before the first call."""
    return Store(url or find_store_url(settings), settings, ticket_template(), timeout=timeout)


def open_parts(
    settings: Settings, models: Registry | None = None, *, store_url: str | None = None, on_wrong_start: OnWrongStart | None = None
) -> Parts:
    """The open service over `models` (default: all defined so far); no I/O happens before the first call.

    Somebody has to run `parts.admission.watch()`. `on_wrong_start`: see `Admission`.
    """
    store = open_store(settings, store_url)
    known = default_registry() if models is None else models
    return Parts(settings, store, known, open_admission(settings, store, on_wrong_start), open_blobs(settings))


def open_admission(settings: Settings, store: Store, on_wrong_start: OnWrongStart | None = None) -> Admission:
    """Admission to this store; it looks when it is first asked."""

    def look(timeout: float) -> Awaitable[Inspection]:
        return inspect(store, settings, _disk_reader(settings, store.url), timeout=timeout)

    return Admission(look, patience=settings.store_timeout, on_wrong_start=on_wrong_start)


def _disk_reader(settings: Settings, url: str) -> ReadDisk:
    return lambda: embedded.read_disk(settings.data, url)


async def inspect_store(settings: Settings, url: str, *, claim: bool) -> tuple[Inspection, Sequence[LaneDepth], Loss | None]:
    """One look at the store at `url`, at what waits in it, and at what it has lost (nothing, when the data cannot be looked at).

    `claim`: see `inspect`.

    Raises:
        StoreUnavailable, StoreError
    """
    store = open_store(settings, url)
    try:
        seen = await inspect(store, settings, _disk_reader(settings, url), timeout=settings.store_timeout, claim=claim)
        if not seen.facts.inside:
            return seen, (), None
        return seen, await store.records.depths(), await store.losses.read()
    finally:
        await store.close()


def check_start(settings: Settings, url: str) -> list[Finding]:
    """What forbids to start on the store at `url`: nothing when it is safe, and nothing when it does not answer, for it may come back.

    Raises:
        StoreError: it refuses what no service can do without.
    """
    try:
        seen, *_ = asyncio.run(inspect_store(settings, url, claim=True))
    except StoreUnavailable:
        return []
    return refusals(seen.findings)


def _ensure_event_loop() -> None:
    """As in plain Python, where code may ask for the event loop while it is imported: `asyncio.run`, which we have used, leaves none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            asyncio.get_event_loop()
        except RuntimeError:
            asyncio.set_event_loop(_loop_at_import())


@cache
def _loop_at_import() -> asyncio.AbstractEventLoop:
    """Kept: the author's code may keep it too."""
    return asyncio.new_event_loop()


def find_models(settings: Settings, app: str | None = None) -> tuple[str, list[ModelSpec]]:
    """The target to import and the models in it.

    Raises:
        SettingsError: nothing to serve was named, or it holds no model.
    """
    target = app or settings.app
    if not target:
        raise SettingsError("Nothing to serve: name a file or module with models, as in `longrun serve app.py`, or set LONGRUN_APP.")
    _ensure_event_loop()
    with report_slow_import(target):
        specs = load_target(target, Registry())
    # For `longrun.submit` by name. A name that other code of this process has defined stays that code's.
    known = default_registry()
    for spec in specs:
        if spec.name not in known:
            known.add(spec)
    return target, specs


def create_app(
    app: str | None = None,
    *,
    models: Sequence[Any] | None = None,
    settings: Settings | None = None,
    store_url: str | None = None,
) -> FastAPI:
    """The HTTP API as an ASGI application: serve it, or mount it in your own (`main.mount("/ai", longrun.create_app())`).

    Args:
        app: what to import, as in `longrun serve`; default `LONGRUN_APP`.
        models: model classes and functions instead of `app`; default, when neither is given: all models defined so far.
        settings: default: read from the environment.
        store_url: default: `LONGRUN_REDIS_URL`, or the embedded Valkey that runs in `data`.

    Raises:
        SettingsError, AuthoringError, MissingExtra
    """
    refuse_patches("this application")
    chosen = settings or load_settings()
    return create_api(chosen, store_url, models=_registry(chosen, app, models))


def create_api(
    settings: Settings, store_url: str | None, on_wrong_start: OnWrongStart | None = None, *, models: Registry | None = None
) -> FastAPI:
    """As `create_app`, over `models` (default: those that `settings` name).

    `on_wrong_start` is called when the store turns out to be unsafe as soon as it answers, or later to hold data that this version does not
    know.
    """
    served = _registry(settings, None, None) if models is None else models
    # Imported here: workers import this module too and must not pay for FastAPI, nor for the client that sends webhooks.
    from longrun.api.app import build_app
    from longrun.chores.webhooks import send_webhooks

    open_blobs(settings).close()  # what is wrong with these settings is said before a server starts, and starts again

    async def upkeep(parts: Parts) -> None:
        base = f"{settings.public_url.rstrip('/')}{API_PREFIX}"
        announcing = stay_announced(parts.store, settings, "api", new_identity())
        await while_known(announcing, run_chores(parts.store, parts.settings, parts.blobs), send_webhooks(parts, base))
        # The data are not for this version. What is mounted in another application can only stop accepting jobs.
        parts.admission.close()
        if on_wrong_start is not None:
            on_wrong_start()

    async def beside(parts: Parts) -> None:
        await asyncio.gather(upkeep(parts), parts.admission.watch())

    return build_app(settings, served, lambda: open_parts(settings, served, store_url=store_url, on_wrong_start=on_wrong_start), beside)


def _registry(settings: Settings, app: str | None, models: Sequence[Any] | None) -> Registry:
    if models is None and not (app or settings.app):
        return default_registry()
    specs = [model.__longrun__ for model in models] if models is not None else find_models(settings, app)[1]
    registry = Registry()
    for spec in specs:
        registry.add(spec)
    return registry


def run_worker(
    settings: Settings, name: str | None = None, on_wrong_start: OnWrongStart | None = None, *, identity: str | None = None
) -> int:
    """Run a worker until it is asked to stop; its exit status.

    Args:
        settings: what to serve (`app`, `queues`), on what (`device`, `processes`, `concurrency`), how to stop (`grace`).
        name: of no other live worker; default `longrun-<pid>-<random>@<host>`.
        on_wrong_start: called, on a thread of the worker, when the store turns out to be unsafe as soon as it answers, later to hold data
            that this version does not know, or when another worker has got the name after this one could not reach the store for a lease.
        identity: of this process, from `clock.new_identity`, where the one that starts it is to report its death.

    Raises:
        SettingsError: also when another live worker has the name, and keeps it for a lease.
        AuthoringError
    """
    from longrun.worker.celery.worker import run_celery_worker
    from longrun.worker.plan import WorkerPlan
    from longrun.worker.supervise.devices import refusal, visible_gpus

    target, specs = find_models(settings)
    wanted = [spec for spec in specs if not settings.queues or spec.queue in settings.queues]
    if not wanted:
        there = ", ".join(sorted({spec.queue for spec in specs}))
        raise SettingsError(f"queues={','.join(settings.queues)}: no model of {target} is in these queues; there are: {there}.")
    if refused := refusal(settings.device, {spec.name: spec.options.gpus for spec in wanted}, visible_gpus()):
        raise SettingsError(refused)
    url, own = find_store_url(settings), identity or new_identity()
    if name:
        asyncio.run(_take_name(settings, url, own, name))
    blobs, end = open_blobs(settings), on_wrong_start or (lambda: None)

    async def stay(store: Store) -> None:
        await stay_announced(store, settings, "worker", own)
        end()

    plan = WorkerPlan(
        identity=own,
        name=name or f"longrun-{os.getpid()}-{own[:6]}@{socket.gethostname()}",
        target=target,
        specs=wanted,
        models={spec.name: spec for spec in [*models_beside(target), *specs]},
        settings=settings,
        # A worker's calls carry their own, long deadlines; this one is for the few that do not.
        open_store=lambda: open_store(settings, url, timeout=10.0),
        blobs=blobs,
        background=[
            lambda store: run_chores(store, settings, blobs),
            lambda store: open_admission(settings, store, on_wrong_start).watch(),
            stay,
        ],
        on_wrong_start=end,
        given=given_to_models(settings, url),
    )
    try:
        return run_celery_worker(plan, url)
    finally:
        blobs.close()


async def _take_name(settings: Settings, url: str, identity: str, name: str) -> None:
    from longrun.worker.announce import take_name

    store = open_store(settings, url, timeout=settings.lease)
    try:
        await take_name(store.claims, identity, name, settings)
    finally:
        await store.close()
