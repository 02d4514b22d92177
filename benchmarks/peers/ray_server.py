"""Ray Serve with `@serve.batch`: `python -m peers.ray_server PORT`."""

import sys
import time

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from peers.encoder import THREADS, Encoder


@serve.deployment(num_replicas=1, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1})
class MiniLM:
    """384 numbers for a text."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One batch."""
        return self.encoder.encode(texts)

    async def __call__(self, request: Request) -> JSONResponse:
        """One request."""
        return JSONResponse({"vector": await self.embed((await request.json())["text"])})


if __name__ == "__main__":
    ray.init(num_cpus=max(2, THREADS), include_dashboard=False, log_to_driver=True, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(MiniLM.bind(), route_prefix="/")
    while True:
        time.sleep(3600)
