"""A job's record, read from the fields of its hash."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from longrun.jobs.record import FIELDS, TREE_FIELDS, JobRecord

_BARE = {"tenant": b"t", "model": b"m", "queue": b"q", "status": b"queued"}
_BARE |= dict.fromkeys(("version", "priority", "attempt", "created"), b"1")


@pytest.mark.parametrize("name", [*(name for name in FIELDS if name != "flow"), *TREE_FIELDS])
def test_a_stored_field_has_the_type_that_the_record_declares(name: str) -> None:
    stored = {name: b"1"} | _BARE

    names = FIELDS if name in FIELDS else FIELDS + TREE_FIELDS

    record = JobRecord.from_fields("job_1", [stored.get(each) for each in names])

    assert isinstance(getattr(record, name), get_type_hints(JobRecord)[name])
