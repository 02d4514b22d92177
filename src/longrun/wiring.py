"""Builds things from settings: the one place that knows all parts."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from longrun import embedded
from longrun.chores.run import run_chores
from longrun.errors import SettingsError
from longrun.models import ModelSpec, Registry, default_registry, load_target
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings, load_settings
from longrun.store.store import Store

if TYPE_CHECKING:
    from fastapi import FastAPI


def find_store_url(settings: Settings) -> str:
    """The store's URL: `redis_url`, or the embedded Valkey that runs in `data`.

    Raises:
        SettingsError: neither is there.
    """
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


def open_parts(settings: Settings, models: Registry | None = None, *, store_url: str | None = None) -> Parts:
    """The open service over `models` (default: all defined so far); no I/O happens before the first call."""
    return Parts(settings, open_store(settings, store_url), default_registry() if models is None else models)


def find_models(settings: Settings, app: str | None = None) -> tuple[str, list[ModelSpec]]:
    """The target to import and the models in it.

    Raises:
        SettingsError: nothing to serve was named, or it holds no model.
    """
    target = app or settings.app
    if not target:
        raise SettingsError("Nothing to serve: name a file or module with models, as in `longrun serve app.py`, or set LONGRUN_APP.")
    return target, load_target(target)


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
        SettingsError, AuthoringError
    """
    # Imported here: runners and workers import this package too and must not pay for FastAPI.
    from longrun.api.app import build_app

    chosen = settings or load_settings()
    registry = _registry(chosen, app, models)

    def start_chores(parts: Parts) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(run_chores(parts.store, parts.settings))

    return build_app(chosen, registry, lambda: open_parts(chosen, registry, store_url=store_url), start_chores)


def _registry(settings: Settings, app: str | None, models: Sequence[Any] | None) -> Registry:
    if models is None and not (app or settings.app):
        return default_registry()
    specs = [model.__longrun__ for model in models] if models is not None else find_models(settings, app)[1]
    registry = Registry()
    for spec in specs:
        registry.add(spec)
    return registry


def run_worker(settings: Settings, name: str | None = None) -> int:
    """Run a worker until it is told to stop; its exit status.

    Args:
        settings: what to serve (`app`, `queues`), on what (`device`, `processes`, `concurrency`), how to stop (`grace`).
        name: unique among live workers; default `longrun-<pid>@<host>`.

    Raises:
        SettingsError, AuthoringError
    """
    from longrun.worker.celery_worker import run_celery_worker
    from longrun.worker.engine import WorkerPlan

    target, specs = find_models(settings)
    wanted = [spec for spec in specs if not settings.queues or spec.queue in settings.queues]
    if not wanted:
        there = ", ".join(sorted({spec.queue for spec in specs}))
        raise SettingsError(f"queues={','.join(settings.queues)}: no model of {target} is in these queues; there are: {there}.")
    url = find_store_url(settings)
    plan = WorkerPlan(
        name=name or f"longrun-{os.getpid()}@{socket.gethostname()}",
        target=target,
        specs=wanted,
        settings=settings,
        open_store=_store_opener(settings, url),
        background=[lambda store: run_chores(store, settings)],
    )
    return run_celery_worker(plan, url)


def _store_opener(settings: Settings, url: str) -> Callable[[], Store]:
    # A worker's calls carry their own, long deadlines; this one is for the few that do not.
    return lambda: open_store(settings, url, timeout=10.0)
