"""Out of memory: what says so, how batches are cut, and how large the next ones are."""

from __future__ import annotations

import sys
import types
from itertools import pairwise
from typing import Any

import pytest

from longrun.worker.runner.memory import Calls, Fit, gpu_memory, release
from longrun.worker.runner.raised import describe


class OutOfMemoryError(RuntimeError):
    pass


class XlaRuntimeError(RuntimeError):
    pass


class ResourceExhausted(Exception):
    """As a client of gRPC raises it when a quota is used up."""


def test_what_says_out_of_memory() -> None:
    said = [
        MemoryError(),
        OutOfMemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Failed to allocate request for 8.0GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
    ]
    assert all(describe(error).out_of_memory for error in said)
    assert not any(
        describe(error).out_of_memory for error in (ValueError("memory"), ResourceExhausted("RESOURCE_EXHAUSTED: quota"), KeyError())
    )


def run(group: list[int], fit: Fit, room: int, bad: int | None = None) -> tuple[list[int], list[int]]:
    """Run a batch where there is memory for `room` items; the sizes of its calls, and what has ended in which order."""
    calls, sizes, ended = Calls(group, fit), [], []
    for part in calls:
        sizes.append(len(part))
        error: Exception | None = MemoryError() if len(part) > room else ValueError() if bad in part else None
        if error is not None and len(part) > 1:
            calls.again(part, out_of_memory=isinstance(error, MemoryError))
        else:
            ended += part
            fit.fitted(len(part))
    return sizes, ended


def test_a_batch_that_is_too_large_is_halved_and_the_rest_of_it_is_cut_at_once() -> None:
    assert run(list(range(16)), Fit(16), room=5) == ([16, 8, 4, 4, 4, 4], list(range(16)))
    assert run(list(range(3)), Fit(16), room=0) == ([3, 1, 1, 1], [0, 1, 2])


def test_after_another_exception_each_item_runs_by_itself_and_sizes_stay() -> None:
    fit = Fit(8)
    assert run(list(range(4)), fit, room=9, bad=2) == ([4, 1, 1, 1, 1], [0, 1, 2, 3])
    assert fit.size == 8


def test_sizes_grow_back_slowly_and_more_slowly_after_each_failure() -> None:
    fit, sizes = Fit(32), []
    for _ in range(2000):
        sizes.append(fit.size)
        (fit.failed if fit.size > 20 else fit.fitted)(fit.size)
    assert sizes[:2] == [32, 16]
    # The largest that went well comes after a failure, not half of what failed.
    assert min(sizes[1:]) == 16 and sizes[-1] == 20
    failures = [at for at, size in enumerate(sizes) if size > 20]
    assert len(failures) < 8
    gaps = [b - a for a, b in pairwise(failures[1:])]
    assert gaps == sorted(gaps)


def test_a_size_that_does_not_fit_any_more_is_halved() -> None:
    fit = Fit(16)
    fit.fitted(16)
    fit.failed(16)
    assert fit.size == 8


def test_what_the_failed_call_held_is_freed_and_torch_empties_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        empty_cache=lambda: emptied.append("cache"),
        device_count=lambda: 2,
        memory_allocated=lambda n: 10 + n,
        memory_reserved=lambda n: 20 + n,
        max_memory_reserved=lambda n: 30 + n,
    )
    held: list[Any] = []

    class Large:
        def __del__(self) -> None:
            held.append("freed")

    def predict() -> None:
        large = Large()
        raise MemoryError(id(large))

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    try:
        predict()
    except MemoryError as error:
        assert not held
        release(error)
        assert held == ["freed"]
        assert (emptied, gpu_memory()) == ([], None)
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
        release(error)
    assert (emptied, gpu_memory()) == (["cache"], [21, 41, 61])
