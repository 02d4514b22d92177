"""The model of the inference row, as a user of Longrun would write it."""

from __future__ import annotations

from longrun import Model, batched
from peers.encoder import Encoder


class MiniLM(Model, name="minilm"):
    """384 numbers for a text."""

    def load(self, device: str) -> None:
        self.encoder = Encoder()

    @batched(max_size=64, max_wait_ms=10)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return self.encoder.encode(texts)
