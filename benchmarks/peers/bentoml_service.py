"""BentoML with adaptive batching, as a route that answers and as a task that is asked again and again."""

import bentoml

from peers.encoder import THREADS, Encoder


@bentoml.service(workers=1, threads=THREADS, traffic={"timeout": 120, "max_concurrency": 1024})
class MiniLM:
    """384 numbers for a text. `max_latency_ms` is when BentoML refuses: far enough not to."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def embed(self, texts: list[str]) -> list[list[float]]:
        """The route."""
        return self.encoder.encode(list(texts))

    @bentoml.task(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def embed_task(self, texts: list[str]) -> list[list[float]]:
        """The task."""
        return self.encoder.encode(list(texts))
