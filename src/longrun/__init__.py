"""Longrun turns any slow AI call into an asynchronous HTTP API: submit and get an id in milliseconds, workers do the work.

    from longrun import Model, Job, model, batched, Retry

Authors need `Model`, `model`, `batched`, `Job` and `Retry`, and the exceptions. `create_app` and `submit` are for applications that
hold the API inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longrun.errors import AuthoringError, Canceled, Failure, JobError, LongrunError, RetryAfter, SettingsError, SoftTimeLimit
from longrun.models import Job, Model, Retry, batched, model
from longrun.version import VERSION

if TYPE_CHECKING:
    from longrun.inprocess import JobHandle, submit
    from longrun.wiring import create_app

__version__ = VERSION

__all__ = [
    "AuthoringError",
    "Canceled",
    "Failure",
    "Job",
    "JobError",
    "JobHandle",
    "LongrunError",
    "Model",
    "Retry",
    "RetryAfter",
    "SettingsError",
    "SoftTimeLimit",
    "__version__",
    "batched",
    "create_app",
    "model",
    "submit",
]

#: Loaded on first use: a runner, which only needs the names above, must not pay for a web framework or a Redis client.
_SERVER_SIDE = {"create_app": "longrun.wiring", "submit": "longrun.inprocess", "JobHandle": "longrun.inprocess"}


def __getattr__(name: str) -> Any:
    if name in _SERVER_SIDE:
        from importlib import import_module

        return getattr(import_module(_SERVER_SIDE[name]), name)
    raise AttributeError(f"module 'longrun' has no attribute {name!r}")
