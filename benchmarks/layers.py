"""The model of the row about threads: a transformer of the size of MiniLM, with random weights."""

from __future__ import annotations

import torch

from longrun import Model

TEXTS, TOKENS, WIDTH = 8, 64, 384


class Layers(Model, name="layers"):
    """Six layers of 384."""

    def load(self, device: str) -> None:
        """Make the weights."""
        layer = torch.nn.TransformerEncoderLayer(WIDTH, 12, 4 * WIDTH, batch_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
        self.tokens = torch.randn(TEXTS, TOKENS, WIDTH)

    def warmup(self) -> None:
        """Run it once."""
        self.predict()

    def predict(self) -> int:
        """Several texts; with how many threads."""
        with torch.inference_mode():
            self.layers(self.tokens)
        return torch.get_num_threads()
