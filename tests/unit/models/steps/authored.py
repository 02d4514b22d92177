"""Models that the tests of `job.run` and its like run as steps."""

from __future__ import annotations

from typing import Any

from longrun import model
from longrun.models import isolated_registry

#: What has run, in its order. Each test begins with none.
RAN: list[Any] = []


with isolated_registry():

    @model
    def echo(value: Any) -> Any:
        RAN.append(value)
        return value

    @model
    def pair() -> tuple[int, str]:
        return 1, "a"
