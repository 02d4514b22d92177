"""How attempts end that could not read or store a file."""

from __future__ import annotations

import orjson
import pytest
from msgspec import to_builtins

from longrun import Retry, model
from longrun.errors import BadInput, BlobsFull, BlobsUnavailable
from longrun.models import isolated_registry
from longrun.wire import JobProblem
from longrun.worker.runner.outcome import failure_of, is_retryable
from longrun.worker.runner.raised import describe

with isolated_registry():

    @model
    def once() -> int:
        return 1

    @model(retry=Retry(3))
    def thrice() -> int:
        return 1

    @model(retry=Retry(3, on=(OSError,)))
    def picky() -> int:
        return 1


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        (BlobsFull("The folder of files has no room."), "storage-full", True),
        (BlobsUnavailable("The bucket of files does not answer."), "storage-unavailable", True),
        (BadInput("The image cannot be decoded: it is damaged."), "validation-failed", False),
    ],
)
def test_a_file_that_fails_has_a_code_of_its_own_and_the_blob_store_is_no_fault_of_the_job(
    error: Exception, code: str, again: bool
) -> None:
    stored = failure_of(describe(error), 2).to_json()
    assert orjson.loads(stored)["code"] == code
    problem = to_builtins(JobProblem.of(stored, "/jobs/1"))
    assert (problem["detail"], problem["retryable"], problem["cause"]) == (str(error), again, None)
    assert "longrun" not in problem["title"].lower()
    assert [is_retryable(error, each.__longrun__) for each in (once, thrice, picky)] == [False, again, False]
