"""The services that call one model: how each is started, asked, and checked against the model without a service."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import orjson

from bench.children import Child
from bench.environments import program
from bench.errors import CheckError
from bench.ports import free_port
from bench.stage import HERE, Stage

TOLERANCE = 1e-4  # of each number of a vector: batches are padded differently
START_WITHIN = 120.0  # seconds: most of it reads PyTorch
SIZES = (16, 32, 64, 128)  # batches of the calls without a service
WORDS = (  # of a made-up text
    "the", "cat", "river", "market", "engine", "quietly", "opens", "before", "long", "after", "storm", "of", "bright", "old", "letters",
    "on", "every", "table", "while", "nobody", "in", "city", "hears", "how", "seven", "violins", "rise", "and", "fall", "with", "evening",
    "light", "over", "harbour", "where", "boats", "carry", "grain", "salt", "paper", "glass", "to", "another", "shore",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One measurement: sentences a second, and how many a batch had in the mean."""

    rate: float
    batch: float


def sentences(count: int) -> list[str]:
    """The same ones for all, in the same order: 5 to 30 words, none twice."""
    chance = random.Random(7)
    return [f"{number} " + " ".join(chance.choices(WORDS, k=chance.randint(5, 30))) for number in range(count)]


def offline(texts: list[str]) -> tuple[dict[str, float], np.ndarray]:
    """Sentences a second by batch size, and the vectors."""
    with Stage() as stage:
        path = stage.folder / "vectors.npy"
        rates = Stage.result("offline", ["peers.offline", json.dumps(SIZES), str(path)], {}, json.dumps(texts))
        return rates, np.load(path)


def serve(stage: Stage, service: str, env: dict[str, str]) -> tuple[int, str]:
    """Start a service; its port and where it tells that it is ready. Raises CheckError."""
    port = free_port()
    env = env | {"PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))}
    if service == "longrun":
        url = stage.valkey()
        stage.longrun_worker(url, str(HERE / "minilm.py"), env)
        return stage.longrun_api_process(url, str(HERE / "minilm.py"))[0], "/readyz"
    if service == "litserve":
        stage.start(service, [program("litserve", "python"), "-m", "peers.litserve_server", str(port)], env)
        return port, "/health"
    if service == "ray":
        stage.start(service, [program("ray", "python"), "-m", "peers.ray_server", str(port)], env | {"RAY_TMPDIR": str(stage.folder)})
        return port, "/-/healthz"
    command = [program("bentoml", "python"), "-m", "bentoml", "serve", "peers.bentoml_service:MiniLM", "--port", str(port)]
    stage.start(service, command, env | {"BENTOML_HOME": str(stage.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "true"})
    return port, "/readyz"


def one_by_one(service: str, texts: list[str], expected: np.ndarray, connections: int) -> Seen:
    """One request for each sentence. Raises CheckError when a vector is not as expected."""
    with Stage() as stage:
        log, save = stage.folder / "batches.log", stage.folder / "vectors.npy"
        port, path = serve(stage, service, {"BATCH_LOG": str(log)})
        _ready(stage.started[-1], port, path)
        spec = {
            "service": service,
            "port": port,
            "connections": connections,
            "warm_up": min(len(texts), 2 * connections),
            "save": str(save),
        }
        seconds = Stage.result(f"requests to {service}", ["bench.sentences", json.dumps(spec)], {}, json.dumps(texts))["seconds"]
        _check(service, np.load(save), expected)
        return Seen(len(texts) / seconds, _mean_batch(log))


def one_batch(texts: list[str], expected: np.ndarray) -> Seen:
    """All sentences in one request to Longrun's `/batches`, until the last byte of the results was read. Raises CheckError."""
    with Stage() as stage:
        log = stage.folder / "batches.log"
        port, path = serve(stage, "longrun", {"BATCH_LOG": str(log)})
        _ready(stage.started[-1], port, path)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=120) as client:
            _batch(client, texts[:128])
            begun = time.monotonic()
            lines = _batch(client, texts)
            seconds = time.monotonic() - begun
        if any(line["status"] != "succeeded" for line in lines):
            raise CheckError("not every item of the batch succeeded")
        _check("batches", np.asarray([line["output"] for line in lines], dtype=np.float32), expected)
        return Seen(len(texts) / seconds, _mean_batch(log))


def _batch(client: httpx.Client, texts: list[str]) -> list[dict[str, object]]:
    body = orjson.dumps([{"text": text} for text in texts])
    answer = client.post("/models/minilm/batches", content=body, headers={"Content-Type": "application/json", "Prefer": "wait=60"})
    if answer.status_code not in (200, 202):
        raise CheckError(f"a batch was answered with {answer.status_code}: {answer.text[:300]}")
    url = f"/batches/{answer.json()['id']}"
    while not answer.json()["terminal"]:
        answer = client.get(url, headers={"Prefer": "wait=60"})
        answer.raise_for_status()
    return [orjson.loads(line) for line in client.get(f"{url}/results").raise_for_status().content.splitlines()]


def _ready(child: Child, port: int, path: str) -> None:
    Stage.answers(child, port, path, START_WITHIN)


def _check(service: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise CheckError(f"{service}: vectors of shape {found.shape}, not {expected.shape}")
    if (difference := float(np.abs(found - expected).max())) > TOLERANCE:
        raise CheckError(f"{service}: a number differs by {difference:g} from that of the model without a service")


def _mean_batch(log: Path) -> float:
    sizes = [int(line) for line in log.read_text().split()]
    return sum(sizes) / len(sizes)


MEASURES: dict[str, Callable[[list[str], np.ndarray, int], Seen]] = {
    name: lambda texts, expected, connections, name=name: one_by_one(name, texts, expected, connections)  # type: ignore[misc]
    for name in ("longrun", "litserve", "bentoml", "bentoml_task", "ray")
} | {"batches": lambda texts, expected, _: one_batch(texts, expected)}
