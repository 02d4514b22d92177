"""A model whose runner raises, instead of being ready, what it is asked to."""

from __future__ import annotations

import os

from nasty_exceptions import NASTY

from longrun import Model

WHERE, _, WHAT = os.environ.get("NASTY_LOAD", "").partition(":")


class Never(Model):
    def __init__(self) -> None:
        if WHERE == "init":
            NASTY[WHAT]()

    def load(self, device: str) -> None:
        if WHERE == "load":
            NASTY[WHAT]()

    async def warmup(self) -> None:
        if WHERE == "warmup":
            NASTY[WHAT]()

    async def predict(self) -> int:
        return 1
