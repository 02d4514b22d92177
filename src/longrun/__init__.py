"""Longrun turns any slow AI call into an asynchronous HTTP API: submit and get an id in milliseconds, workers do the work.

    from longrun import Model, Job, model, batched, Retry

Callers need `Client` or `AsyncClient`, which `pip install longrun-ai` brings. Everything else needs `longrun-ai[serve]`: for authors of
models `Model`, `model`, `batched`, `Job`, `Retry`, the types `File`, `Image`, `Audio` with `Limits`, and the exceptions; for applications
that hold the service inside `create_app` and `submit`.
"""

from __future__ import annotations

from importlib import import_module

# As `typing` has it. It is not imported, nor anything else that is not loaded yet: with `python -m longrun` the working folder comes first.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from longrun.client import AsyncClient, Client
    from longrun.errors import (
        ApiError,
        AuthoringError,
        BadInput,
        CallError,
        Canceled,
        DownloadBroken,
        Failure,
        JobError,
        JobFailed,
        LetGo,
        LongrunError,
        RetryAfter,
        SettingsError,
        SoftTimeLimit,
        StepConflict,
        StepFailed,
        StepRefused,
        StreamBroken,
        Unreachable,
    )
    from longrun.inprocess import JobHandle, close, submit
    from longrun.models import Audio, File, Image, Job, Limits, Model, Retry, batched, chain, fan_out, model
    from longrun.version import VERSION as __version__  # noqa: N811 - the name that tools look for
    from longrun.wiring import create_app

__all__ = [
    "ApiError",
    "AsyncClient",
    "Audio",
    "AuthoringError",
    "BadInput",
    "CallError",
    "Canceled",
    "Client",
    "DownloadBroken",
    "Failure",
    "File",
    "Image",
    "Job",
    "JobError",
    "JobFailed",
    "JobHandle",
    "LetGo",
    "Limits",
    "LongrunError",
    "Model",
    "Retry",
    "RetryAfter",
    "SettingsError",
    "SoftTimeLimit",
    "StepConflict",
    "StepFailed",
    "StepRefused",
    "StreamBroken",
    "Unreachable",
    "__version__",
    "batched",
    "chain",
    "close",
    "create_app",
    "fan_out",
    "model",
    "submit",
]

#: Where each name lives. Loaded on first use: a runner must not pay for a web framework, nor `longrun jobs ls` for pydantic.
_HOMES = {
    "longrun.client": "AsyncClient Client",
    "longrun.errors": "ApiError AuthoringError BadInput CallError Canceled DownloadBroken Failure JobError JobFailed LetGo LongrunError "
    "RetryAfter SettingsError SoftTimeLimit StepConflict StepFailed StepRefused StreamBroken Unreachable",
    "longrun.inprocess": "JobHandle close submit",
    "longrun.models": "Audio File Image Job Limits Model Retry batched chain fan_out model",
    "longrun.wiring": "create_app",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("longrun.version").VERSION
    if name in _HOME_OF:
        from longrun.errors import needs_extra

        with needs_extra(f"longrun.{name}"):
            value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'longrun' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
