"""The model of the inference row, as a user of Longrun would write it."""

from __future__ import annotations

from peers.encoder import Encoder
from pydantic import BaseModel

from longrun import Model, batched


class Ask(BaseModel):
    """What a request holds."""

    text: str


class MiniLM(Model, name="minilm"):
    """384 numbers for a text."""

    def load(self, device: str) -> None:
        """Load."""
        self.encoder = Encoder()

    @batched(max_size=64, max_wait_ms=10)
    def predict(self, asks: list[Ask]) -> list[list[float]]:
        """One batch."""
        return self.encoder.encode([ask.text for ask in asks])
