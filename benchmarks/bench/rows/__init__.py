"""The benchmarks by name. Each takes a plan and returns its figures, and curves."""

from collections.abc import Callable, Sequence

from bench.curves import Curve
from bench.figures import Figure
from bench.plan import Plan
from bench.rows import drain, large_values, latency, queues, sse_readers, submits, ten_thousand, uploads

ROWS: dict[str, Callable[[Plan], Sequence[Figure | Curve]]] = {
    "submits": submits.measure,
    "drain": drain.measure,
    "queues": queues.measure,
    "latency": latency.measure,
    "10k": ten_thousand.measure,
    "sse": sse_readers.measure,
    "uploads": uploads.measure,
    "large values": large_values.measure,
}

#: Environments that a row needs, see `bench.environments`.
PEERS: dict[str, tuple[str, ...]] = {
    "queues": ("taskiq", "dramatiq", "arq", "rq", "huey"),
}
