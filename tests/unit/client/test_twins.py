"""Both clients have the same verbs, and their page names every one."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import longrun
from longrun.client import AsyncClient, AsyncRemoteBatch, AsyncRemoteJob, Client, RemoteBatch, RemoteJob
from longrun.client.protocol.options import Options
from longrun.client.resources.views import BatchView, JobView
from longrun.errors import LongrunError

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()


def verbs(kind: type[Any]) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_") and callable(member)}


@pytest.mark.parametrize(
    ("ordinary", "asynchronous"),
    [(Client, AsyncClient), (RemoteJob, AsyncRemoteJob), (RemoteBatch, AsyncRemoteBatch)],
)
def test_the_twins_have_the_same_verbs_with_the_same_parameters(ordinary: type[Any], asynchronous: type[Any]) -> None:
    assert set(verbs(ordinary)) == set(verbs(asynchronous))
    for name, verb in verbs(ordinary).items():
        mine, theirs = (inspect.signature(each).parameters.values() for each in (verb, verbs(asynchronous)[name]))
        assert [(each.name, each.kind, each.default) for each in mine] == [(each.name, each.kind, each.default) for each in theirs], name
    assert inspect.signature(ordinary).parameters.keys() == inspect.signature(asynchronous).parameters.keys()


def test_every_verb_option_and_exception_is_on_the_page() -> None:
    jobs = set(verbs(RemoteJob)) - set(verbs(JobView))
    missing = [name for name in jobs if f"job.{name}(" not in PAGE and f"new.{name}(" not in PAGE]
    missing += [name for name in set(verbs(RemoteBatch)) - set(verbs(BatchView)) if f"batch.{name}(" not in PAGE]
    missing += [name for name in set(verbs(Client)) - {"listing"} if f"client.{name}(" not in PAGE and f"`{name}()`" not in PAGE]
    missing += [name for name in (*Options.__optional_keys__, *inspect.signature(Client).parameters) if name not in PAGE]
    for name in longrun.__all__:
        kind = getattr(longrun, name)
        if name in ("ApiError", "CallError", "JobFailed", "StreamBroken", "Unreachable"):
            assert issubclass(kind, LongrunError)
            missing += [] if f"| `{name}` |" in PAGE else [name]
    assert missing == []


def test_everything_public_is_documented() -> None:
    bare = [
        f"{kind.__name__}.{name}"
        for kind in (Client, AsyncClient, RemoteJob, AsyncRemoteJob, RemoteBatch, AsyncRemoteBatch)
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and not inspect.getdoc(member)
    ]
    assert bare == []
