"""Tickets travel in the store, with its credentials."""

from __future__ import annotations

import pytest

from longrun.queues.celery.app import broker_url


@pytest.mark.parametrize(
    ("store", "broker"),
    [
        ("redis://:word@host:6379/1", "longrun://:word@host:6379/1"),
        ("unix:///run/s", "longrun+socket:///run/s?virtual_host=0"),
        ("unix://:word@/run/s?db=2", "longrun+socket://:word@/run/s?virtual_host=2"),
        ("unix://me:w%40rd@/run/s", "longrun+socket://me:w%40rd@/run/s?virtual_host=0"),
    ],
)
def test_the_broker_is_the_store(store: str, broker: str) -> None:
    assert broker_url(store) == broker
