"""When a run is asked to stop, and what is done when it does not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec import to_builtins

from longrun.errors import AuthoringError
from longrun.jobs.failure import JobFailure
from longrun.jobs.policy import Policy, narrow
from longrun.models import ModelOptions
from longrun.store.claims import Claim
from longrun.wire import JobProblem
from longrun.worker.run import Run, Sink
from longrun.worker.stopping import Company, last_step

ALONE, NEIGHBOURS, DEAF = Company(), Company(wanted=True), Company(wanted=True, deaf=True)
PAID = Company(wanted=True, once=True, deaf=True)


def run(waited_ms: int = 0, **policy: Any) -> Run:
    """A run that begins at second 100, `waited_ms` after it was submitted."""
    run = Run(Claim("job_1", "1/n", b"{}", Policy(**policy), "", 0, 1000, 1000 + waited_ms), "default.echo", cast(Sink, None))
    run.since = 100.0
    run.begin(100.0)
    return run


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("company", "step"),
    [
        (ALONE, "kill"),
        (Company(deaf=True), "kill"),
        (NEIGHBOURS, "fence"),
        (DEAF, "kill"),
    ],
)
def test_a_runner_that_others_need_is_killed_only_when_it_is_no_use_to_them(company: Company, step: str, over: bool) -> None:
    assert last_step(company, over=over) == step


def test_work_that_must_not_run_twice_is_lost_for_a_time_limit_only() -> None:
    assert last_step(PAID, over=False) == "fence"
    assert last_step(PAID, over=True) == "kill"


def test_without_a_soft_limit_the_grace_follows_the_limit() -> None:
    job = run(timeout=10)
    assert (job.deadline, job.hard) == (110, 110)
    job.request_stop("timeout", 110.05, grace=1)
    assert (job.exception_at, job.kill_at) == (pytest.approx(110.383, abs=0.001), 111.05)


def test_with_a_soft_limit_the_end_comes_at_the_hard_one() -> None:
    job = run(timeout=10, soft_timeout=4)
    assert (job.deadline, job.hard, job.limit, job.hard_limit) == (104, 110, "soft_timeout of 4 s", "timeout of 10 s")
    job.request_stop("timeout", 104.05, grace=1)
    assert job.kill_at == 110


def test_a_cancel_does_not_wait_for_the_hard_limit() -> None:
    job = run(timeout=10, soft_timeout=4)
    job.request_stop("timeout", 104.05, grace=1)
    job.request_stop("canceled", 105, grace=1)
    assert job.kill_at == 106


def test_total_time_counts_what_the_job_has_waited() -> None:
    job = run(waited_ms=7000, timeout=10, total_timeout=9)
    assert (job.deadline, job.hard_limit) == (102, "total_timeout of 9 s")
    job = run(waited_ms=7000, timeout=10, soft_timeout=1, total_timeout=9)
    assert (job.deadline, job.hard) == (101, 102)


@pytest.mark.parametrize(("grace", "exception"), [(1, 1 / 3), (3, 1), (0.2, 0.1), (0.05, 0.05), (0, 0)])
def test_the_exception_comes_after_a_third_of_the_grace_and_never_after_the_kill(grace: float, exception: float) -> None:
    job = run(timeout=600)
    job.request_stop("canceled", 200, grace)
    assert job.exception_at - 200 == pytest.approx(exception)
    assert job.exception_at <= job.kill_at == 200 + grace


def test_a_job_tells_how_it_was_stopped_after_how_long_and_how_long_that_took() -> None:
    job = run(timeout=600)
    job.request_stop("canceled", 105, grace=1)
    job.has_run(100.0, 6.25)
    job.has_stopped("kill", 106.25)
    assert (job.stopped_by, job.run_s, job.stop_s) == ("kill", 6.25, 1.25)


def test_a_job_that_never_began_tells_no_step() -> None:
    job = Run(Claim("job_1", "1/n", b"{}", Policy(), "", 0, 0, 0), "default.echo", cast(Sink, None))
    job.request_stop("canceled", 5, grace=1)
    job.has_stopped("kill", 6)
    assert job.stopped_by is None


def test_the_problem_of_a_stopped_job_holds_the_step_and_others_do_not() -> None:
    stopped = JobFailure("canceled", "Stopped.", 1, stopped_by="flag", run_s=1.5, stop_s=0.0)
    problem = to_builtins(JobProblem.of(stopped.to_json(), "/jobs/1"))
    assert (problem["stopped_by"], problem["run_s"], problem["stop_s"]) == ("flag", 1.5, 0.0)
    assert "stopped_by" not in to_builtins(JobProblem.of(JobFailure("model-error", "It broke.", 1).to_json(), "/jobs/1"))


@pytest.mark.parametrize(
    ("model", "asked", "soft", "hard"),
    [
        ({}, {}, None, 100),
        ({"soft_timeout": 80}, {}, 80, 100),
        ({"soft_timeout": 80}, {"soft_timeout": 90}, 80, 100),
        ({"soft_timeout": 80}, {"soft_timeout": 30}, 30, 100),
        ({}, {"soft_timeout": 30}, 30, 100),
        ({}, {"soft_timeout": 300}, 100, 100),
        ({"soft_timeout": 80}, {"timeout": 50}, 50, 50),
    ],
)
def test_a_request_can_make_the_soft_limit_shorter_and_it_is_never_after_the_hard_one(
    model: dict[str, float], asked: dict[str, float], soft: float | None, hard: float
) -> None:
    policy = narrow(Policy(timeout=100, **model), asked)  # type: ignore[arg-type]
    assert (policy.soft_timeout, policy.timeout) == (soft, hard)


def test_a_soft_limit_after_the_hard_one_is_refused_when_a_model_is_defined() -> None:
    with pytest.raises(AuthoringError, match=r"soft_timeout \(20 s\) is longer than timeout \(10 s\)"):
        ModelOptions(timeout=10, soft_timeout=20)
