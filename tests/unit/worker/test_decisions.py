"""The worker's pure decisions: batches, devices, frames, failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.played import PlayedSink

from longrun.errors import Failure, RetryAfter, ValidationFailed
from longrun.jobs.policy import Policy
from longrun.models import Model, Retry, isolated_registry
from longrun.store.claims import Claim
from longrun.worker.dispatch.batching import (
    AHEAD_MOST,
    CautiousMean,
    Pace,
    batch_key,
    jobs_ahead,
    queues_of,
    wait_before_batch,
    wait_behind_batch,
)
from longrun.worker.frames import FrameBuffer, pack
from longrun.worker.run import Run
from longrun.worker.runner.outcome import error_code, failure_of, is_retryable
from longrun.worker.runner.raised import describe
from longrun.worker.supervise.devices import Place, place_runners, refusal, visible_gpus


def test_a_full_batch_goes_at_once_and_a_small_one_waits_for_more() -> None:
    assert wait_before_batch(8, 8, 0, 20, None) == 0
    assert wait_before_batch(3, 8, 5, 20, None) == 15
    assert wait_before_batch(3, 8, 20, 20, 1) == 0


def test_nothing_is_waited_for_when_no_arrival_is_expected_in_time() -> None:
    assert wait_before_batch(1, 8, 0, 20, gap_ms=500) == 0
    assert wait_before_batch(1, 8, 0, 20, gap_ms=2) == 20


def test_behind_a_busy_runner_a_batch_gathers_until_shortly_before_the_end() -> None:
    assert wait_behind_batch(8, 8, 0, 100) == 0
    assert wait_behind_batch(3, 8, 10, 100) == 62
    assert wait_behind_batch(3, 8, 80, 100) == 0
    assert wait_behind_batch(3, 8, 0, None) == 0


def test_the_most_urgent_go_first_and_no_key_is_passed_over() -> None:
    first, other, urgent, older = (
        Run(Claim(f"job_{key}", "1/n", b"{}", Policy(), "", 0, 0, 0, priority=priority), "lane", PlayedSink(), (key,), since)
        for key, priority, since in (("a", 5, 1.0), ("b", 5, 0.5), ("a", 9, 2.0), ("a", 5, 0.9))
    )
    assert queues_of([first, other, urgent, older]) == [[urgent, older, first], [other]]
    assert queues_of([first, other]) == [[other], [first]]
    assert queues_of([]) == []


def test_how_long_a_batch_takes_is_told_by_its_size_or_a_smaller_one() -> None:
    pace = Pace()
    assert pace.expect(8) is None
    pace.add(8, 0.1)
    pace.add(9, 0.2)
    assert pace.expect(15) == pytest.approx(0.12)
    assert pace.expect(64) == pytest.approx(0.12)
    assert pace.expect(4) is None


def test_batches_share_the_values_of_their_key() -> None:
    a, b, c = b'{"language":"de","text":"x"}', b'{"text":"y","language":"de"}', b'{"text":"x"}'
    assert batch_key(("language",), a) == batch_key(("language",), b) != batch_key(("language",), c)
    assert batch_key((), a) == ()


def test_only_short_jobs_are_sent_ahead() -> None:
    assert jobs_ahead(None) == 0
    assert jobs_ahead(0.2) == 0
    assert jobs_ahead(0.01) == 5
    assert jobs_ahead(0.0) == AHEAD_MOST


def test_the_mean_believes_a_long_job_at_once() -> None:
    mean = CautiousMean()
    for sample in (0.001, 0.001, 5.0):
        mean.add(sample)
    assert mean.value == 5.0
    mean.add(0.001)
    assert 4 < (mean.value or 0) < 5


def test_runners_are_placed_on_gpus_before_their_interpreter_starts() -> None:
    assert place_runners("auto", 0, 2, ["0", "1"]) == [Place("cpu"), Place("cpu")]
    assert place_runners("auto", 1, 1, ["0", "1"]) == [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": n}) for n in "01"]
    assert place_runners("auto", 2, 1, ["0", "1", "2"]) == [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": "0,1"})]
    assert place_runners("auto", 1, 1, []) == [Place("cpu")]
    assert place_runners("cpu", 1, 1, ["0"]) == [Place("cpu")]
    assert place_runners("cuda", 0, 1, ["0", "1"]) == [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": n}) for n in "01"]
    # The N-th of those that this process may use, whatever their own names are.
    assert place_runners("cuda:1", 1, 2, ["GPU-a", "MIG-b"]) == [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": "MIG-b"})] * 2


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("0,2", ["0", "2"]),
        ("GPU-8932f937-d72c, MIG-GPU-1/2/0", ["GPU-8932f937-d72c", "MIG-GPU-1/2/0"]),
        ("", []),
        ("-1", []),
        ("1,-1,2", ["1"]),
        ("NoDevFiles", []),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(monkeypatch: pytest.MonkeyPatch, named: str, found: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == found


@pytest.mark.parametrize(
    ("device", "wanted", "visible", "part"),
    [
        ("auto", {"a": 1, "b": 0}, [], ""),
        ("auto", {"a": 2}, ["0", "1"], ""),
        ("auto", {"a": 1, "big": 4}, ["0", "1"], "big has gpus=4, but of GPUs there are 2 visible here (0, 1)"),
        ("cuda", {"a": 0}, [], "device=cuda, but of GPUs none is visible here"),
        ("cuda:7", {"a": 1}, ["0", "1"], "the last one is cuda:1"),
        ("cuda:1", {"a": 1}, ["0", "1"], ""),
        ("cuda:1", {"a": 2}, ["0", "1"], "a has gpus=2, but device=cuda:1 is one GPU"),
        ("cpu", {"a": 9}, ["0"], ""),
        ("mps", {"a": 1}, [], "device=mps is for Macs"),
    ],
)
def test_what_cannot_be_placed_is_refused(device: str, wanted: dict[str, int], visible: list[str], part: str) -> None:
    said = refusal(device, wanted, visible, "linux")
    assert part in said and bool(part) == bool(said)


@given(frames=st.lists(st.lists(st.one_of(st.integers(-(2**31), 2**31), st.binary(max_size=50), st.text(max_size=20)))), data=st.data())
def test_frames_come_out_whole_however_the_stream_is_cut(frames: list[list[object]], data: st.DataObject) -> None:
    stream, buffer, got = b"".join(pack(*frame) for frame in frames), FrameBuffer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += buffer.feed(stream[:size])
        stream = stream[size:]
    assert got == [list(frame) for frame in frames]


def spec(retry: Retry | None) -> object:
    with isolated_registry():

        class Thing(Model, retry=retry):
            def predict(self, x: int) -> int:
                return x

    return Thing.__longrun__


def test_codes_of_exceptions() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    assert (
        error_code(describe(MemoryError()))
        == error_code(describe(OutOfMemoryError()))
        == error_code(describe(RuntimeError("CUDA out of memory. Tried …")))
        == "out-of-memory"
    )
    assert error_code(describe(RetryAfter(3))) == "upstream-rate-limited"
    assert error_code(describe(ValidationFailed())) == "validation-failed"
    assert error_code(describe(ValueError())) == "model-error"


def test_the_callers_text_never_holds_the_exceptions_own() -> None:
    failure = failure_of(describe(ValueError("/home/me/secret.py")), 1)
    assert "secret" not in failure.detail
    assert "secret" in (failure.debug or "")
    assert failure_of(describe(Failure("Read this.")), 1).detail == "Read this."


def test_only_covered_errors_are_tried_again() -> None:
    assert not is_retryable(ValueError(), spec(None))  # type: ignore[arg-type]
    assert is_retryable(ValueError(), spec(Retry(2)))  # type: ignore[arg-type]
    assert not is_retryable(Failure(), spec(Retry(2)))  # type: ignore[arg-type]
    assert is_retryable(Failure(), spec(Retry(2, on=(Failure,))))  # type: ignore[arg-type]
    assert not is_retryable(KeyError(), spec(Retry(2, on=(OSError,))))  # type: ignore[arg-type]
    assert is_retryable(RetryAfter(1), spec(Retry(2, on=(OSError,))))  # type: ignore[arg-type]


def test_on_and_never_cover_subclasses_too() -> None:
    class Mine(Failure):
        pass

    class Worse(Mine):
        pass

    chosen = spec(Retry(2, on=(OSError, Mine), never=(PermissionError, Worse)))
    tried = [error for error in (OSError(), ConnectionResetError(), PermissionError(), KeyError()) if is_retryable(error, chosen)]  # type: ignore[arg-type]
    assert [type(error) for error in tried] == [OSError, ConnectionResetError]
    deliberate = [error for error in (Failure(), Mine(), Worse()) if is_retryable(error, chosen)]  # type: ignore[arg-type]
    assert [type(error) for error in deliberate] == [Mine]
    assert is_retryable(Mine(), spec(Retry(2, on=(Failure,))))  # type: ignore[arg-type]
    assert not is_retryable(Mine(), spec(Retry(2, on=(Exception,))))  # type: ignore[arg-type]


def test_an_exception_that_cannot_say_anything_has_a_code_too() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_code(describe(Mute())) == "model-error"
    assert failure_of(describe(Mute()), 1).cause == "Mute"
