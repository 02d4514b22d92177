"""The API and workers die while a batch is fed and run: every item is made once, ends once, and the counts are exact."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.program import until

from longrun.clock import item_id

pytestmark = pytest.mark.chaos


def read(cluster: Cluster, batch_id: str) -> dict[str, Any]:
    body: dict[str, Any] = httpx.get(f"{cluster.url}/api/v1/batches/{batch_id}").json()
    return body


def accepted(cluster: Cluster) -> list[str]:
    return [key.decode() for key in cluster.redis.zrange(f"{PREFIX}batches:local", 0, -1)]


def test_a_batch_whose_api_is_killed_while_it_feeds_is_fed_by_a_worker(cluster: Cluster) -> None:
    total = 20_000
    body = json.dumps([{"text": str(i), "seconds": 0} for i in range(total)])
    request = http.client.HTTPConnection("127.0.0.1", cluster.port)
    sending = threading.Thread(
        target=request.request, args=("POST", "/api/v1/models/nap/batches", body, {"Content-Type": "application/json"})
    )
    sending.start()
    until(lambda: bool(cluster.redis.keys(f"{PREFIX}batch:*")), "the batch was accepted", timeout=60)
    (key,) = cluster.redis.keys(f"{PREFIX}batch:*")
    until(lambda: int(cluster.redis.hget(key, "fed") or 0) >= 300, "some items are jobs", timeout=60)
    cluster.api.kill()
    sending.join()
    fed = int(cluster.redis.hget(key, "fed") or 0)
    assert fed < total, "it was killed in the middle"
    cluster.start_api()
    until(lambda: int(cluster.redis.hget(key, "fed") or 0) == total, "another process went on", timeout=90)
    batch_id = key.decode().rpartition(":")[2]
    waiting = cluster.redis.zrange(f"{PREFIX}wait:default.nap", 0, -1)
    assert {each.decode() for each in waiting} == {item_id(batch_id, index) for index in range(total)}
    assert cluster.redis.llen(f"{PREFIX}default.nap:4") == total, "one ticket each"


def test_the_counts_are_exact_though_workers_are_killed_while_items_run(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    inputs = [{"text": str(i), "seconds": 0.1} for i in range(120)]
    batch = httpx.post(f"{cluster.url}/api/v1/models/nap/batches", json=inputs).json()
    for count in (10, 40):
        until(lambda count=count: read(cluster, batch["id"])["counts"]["succeeded"] >= count, "some items have ended", timeout=60)
        worker.kill()
        worker = cluster.start_worker()
    until(lambda: bool(read(cluster, batch["id"])["terminal"]), "the batch has ended", timeout=90)
    counts = read(cluster, batch["id"])["counts"]
    assert counts == {"total": 120, "pending": 0, "succeeded": 120, "failed": 0, "canceled": 0, "expired": 0}
    answer = httpx.get(f"{cluster.url}/api/v1/batches/{batch['id']}/results").text
    assert [json.loads(line)["status"] for line in answer.splitlines()] == ["succeeded"] * 120
