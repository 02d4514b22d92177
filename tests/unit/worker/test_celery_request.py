"""What remote control does to a ticket, whenever it comes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from longrun.worker.celery.request import TicketRequest


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def request_(events: list[str]) -> TicketRequest:
    dispatcher = SimpleNamespace(enabled=True, groups=(), send=lambda kind, **_: events.append(kind))
    return TicketRequest(SimpleNamespace(event_dispatcher=dispatcher), "default.echo", 4, "job_1")


@pytest.fixture
def stopped() -> list[str]:
    return []


@pytest.fixture
def pool(stopped: list[str]) -> Any:
    return SimpleNamespace(stop_job=stopped.append)


def test_a_revoke_while_the_job_is_being_claimed_is_repeated_when_a_runner_has_it(
    request_: TicketRequest, pool: Any, stopped: list[str], events: list[str]
) -> None:
    request_.terminate(pool, 15)
    assert (stopped, events) == (["job_1"], [])
    request_.accepted(4711, time.monotonic())
    assert (stopped, events) == (["job_1", "job_1"], ["task-started", "task-revoked"])


def test_a_revoke_of_a_running_job_stops_it_once(request_: TicketRequest, pool: Any, stopped: list[str], events: list[str]) -> None:
    request_.accepted(4711, time.monotonic())
    request_.terminate(pool, 15)
    assert (stopped, events) == (["job_1"], ["task-started", "task-revoked"])
