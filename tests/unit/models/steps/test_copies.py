"""What a local step is given is its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from longrun.models.steps.copies import own_copy


class Record(BaseModel):
    """One that may be changed inside."""

    model_config = ConfigDict(frozen=True)
    items: list[Any]


@dataclass(frozen=True, slots=True)
class Slots:
    """The same, of a dataclass."""

    items: list[Any]


VALUES: list[Any] = [[[1]], {"a": [1]}, ([1],), Record(items=[1]), Slots([1]), [Record(items=[Slots([1])])]]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_changed_in_a_copy_is_not_in_the_original(value: Any) -> None:
    before, copied = repr(value), own_copy(value)
    assert copied == value
    pending = [copied]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += list(each)
            each.append("changed")
        elif isinstance(each, dict | tuple):
            pending += each.values() if isinstance(each, dict) else each
        elif hasattr(each, "items"):
            pending.append(each.items)
    assert repr(value) == before != repr(copied)


def test_other_objects_stay_what_they_are_and_loops_stay_loops() -> None:
    connection = object()
    loop: list[Any] = [connection]
    loop.append(loop)
    copied = own_copy(loop)
    assert copied is not loop and copied[0] is connection and copied[1] is copied
