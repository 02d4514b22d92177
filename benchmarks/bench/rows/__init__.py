"""The benchmarks by name. Each takes a plan and returns its figures."""

from collections.abc import Callable

from bench.figures import Figure
from bench.plan import Plan
from bench.rows import drain, large_values, latency, sse_readers, submits, ten_thousand, uploads

ROWS: dict[str, Callable[[Plan], list[Figure]]] = {
    "submits": submits.measure,
    "drain": drain.measure,
    "latency": latency.measure,
    "10k": ten_thousand.measure,
    "sse": sse_readers.measure,
    "uploads": uploads.measure,
    "large values": large_values.measure,
}
