"""Models that take their time to load, or fail to."""

import os
import time
from pathlib import Path

from longrun import Model, model


@model
def ready(text: str, seconds: float) -> str:
    """Has nothing to load."""
    return text


class Slow(Model):
    def load(self, device: str) -> None:
        time.sleep(5)

    def predict(self, text: str, seconds: float) -> str:
        return text


class Flaky(Model):
    def load(self, device: str) -> None:
        tries = Path(os.environ["CHAOS_LOG"] + ".tries")
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        if count == 0:
            raise OSError("the weights are not there yet")
        if count == 1:
            os._exit(9)

    def predict(self, text: str, seconds: float) -> str:
        return text


class Broken(Model):
    def load(self, device: str) -> None:
        raise OSError("there are no weights")

    def predict(self, text: str, seconds: float) -> str:
        return text
