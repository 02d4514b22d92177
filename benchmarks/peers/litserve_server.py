"""LitServe with batching: `python -m peers.litserve_server PORT`."""

import sys
from typing import Any

import litserve as ls

from peers.encoder import Encoder


class Api(ls.LitAPI):
    """As its documentation shows batching."""

    def setup(self, device: str) -> None:
        """Load."""
        self.encoder = Encoder()

    def decode_request(self, request: dict[str, Any]) -> str:
        """One request."""
        return str(request["text"])

    def predict(self, texts: list[str]) -> list[list[float]]:
        """One batch."""
        return self.encoder.encode(list(texts))

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        """One answer."""
        return {"vector": output}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.01)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
