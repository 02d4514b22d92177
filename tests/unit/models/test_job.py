import math

import pytest

from longrun.errors import Canceled, SoftTimeLimit
from longrun.models import Job


def recording(canceled=None):
    reports = []
    return reports, Job(id="job_1", model="story", attempt=2, emit=lambda kind, data: reports.append((kind, data)), canceled=canceled)


def test_a_bare_job_works_without_a_server():
    job = Job()
    job.progress(0.5, "decoding")
    job.log("half way")
    job.usage(tokens=12)
    job.check()
    assert (job.id, job.model, job.attempt, job.canceled) == ("job_local", "", 1, False)
    assert job.last_progress == {"fraction": 0.5, "step": "decoding", "message": None}


def test_the_idempotency_key_is_the_same_in_every_attempt():
    assert Job(id="job_1", attempt=1).idempotency_key == Job(id="job_1", attempt=5).idempotency_key == "job_1"


def test_reports_are_emitted_as_type_and_data():
    reports, job = recording()
    job.progress(0.25, "reading", "page 1 of 4")
    job.log("careful", level="warning")
    job.usage(tokens=120, cost_usd=0.002)
    assert reports == [
        ("progress", {"fraction": 0.25, "step": "reading", "message": "page 1 of 4"}),
        ("log", {"level": "warning", "message": "careful"}),
        ("usage", {"tokens": 120, "cost_usd": 0.002}),
    ]


@pytest.mark.parametrize(("given", "reported"), [(-1, 0.0), (0, 0.0), (1.0000001, 1.0), (math.inf, 1.0), (-math.inf, 0.0)])
def test_progress_is_kept_between_0_and_1(given, reported):
    reports, job = recording()
    job.progress(given)
    assert reports[0][1]["fraction"] == reported


def test_progress_refuses_nan():
    reports, job = recording()
    with pytest.raises(ValueError, match="NaN"):
        job.progress(math.nan)
    assert reports == []


def test_log_refuses_an_unknown_level():
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        Job().log("x", level="fatal")


@pytest.mark.parametrize("value", ["12", True, math.nan, math.inf, None])
def test_usage_takes_finite_numbers_only(value):
    with pytest.raises(ValueError, match="tokens"):
        Job().usage(tokens=value)


def test_what_a_job_reports_as_used_has_few_names_and_short_ones():
    reports, job = recording()
    job.usage(**{f"n{number}": 1 for number in range(40)})
    job.usage(**{f"n{number}": 1 for number in range(64)})
    for more in ({"n64": 1}, {"n" * 65: 1}):
        with pytest.raises(ValueError, match="64 names"):
            job.usage(**more)
    job.usage(n1=1)
    assert len(reports) == 3


@pytest.mark.parametrize("report", [lambda job: job.progress(0.5), lambda job: job.log("x"), lambda job: job.usage(a=1)])
def test_a_canceled_job_stops_at_its_next_report_which_still_arrives(report):
    reports, job = recording(canceled=lambda: Canceled)
    with pytest.raises(Canceled):
        report(job)
    assert len(reports) == 1


def test_check_raises_the_reason_it_was_given():
    reason = None
    _, job = recording(canceled=lambda: reason)
    job.check()
    assert not job.canceled
    reason = SoftTimeLimit
    assert job.canceled
    with pytest.raises(SoftTimeLimit, match="job_1"):
        job.check()


def test_except_exception_in_a_model_does_not_swallow_a_cancellation():
    _, job = recording(canceled=lambda: Canceled)
    with pytest.raises(Canceled):
        try:
            job.progress(0.1)
        except Exception:
            pytest.fail("swallowed")
