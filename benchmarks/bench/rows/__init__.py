"""The benchmarks by name. Each takes a plan and returns its figures, and curves."""

from collections.abc import Callable, Sequence

from bench.curves import Curve
from bench.figures import Figure
from bench.plan import Plan
from bench.rows import (
    depth,
    drain,
    large_values,
    latency,
    memory,
    minilm,
    queues,
    recovery,
    scaling,
    sse_readers,
    steps,
    submits,
    ten_thousand,
    threads,
    uploads,
    waiting,
)

ROWS: dict[str, Callable[[Plan], Sequence[Figure | Curve]]] = {
    "submits": submits.measure,
    "drain": drain.measure,
    "queues": queues.measure,
    "latency": latency.measure,
    "minilm": minilm.measure,
    "depth": depth.measure,
    "recovery": recovery.measure,
    "memory": memory.measure,
    "async": waiting.measure,
    "scaling": scaling.measure,
    "threads": threads.measure,
    "10k": ten_thousand.measure,
    "sse": sse_readers.measure,
    "uploads": uploads.measure,
    "large values": large_values.measure,
    "steps": steps.measure,
}

#: Environments that a row needs, see `bench.environments`.
PEERS: dict[str, tuple[str, ...]] = {
    "queues": ("taskiq", "dramatiq", "arq", "rq", "huey"),
    "minilm": ("litserve", "bentoml", "ray"),
    "async": ("taskiq", "arq"),
}
