import math

import pytest

from longrun.errors import AuthoringError, Canceled, RetryAfter
from longrun.models import Batched, ModelOptions, Retry, batched


def test_retry_counts_attempts_not_repetitions():
    retry = Retry(4)
    assert (retry.attempts, retry.on, retry.never, retry.backoff, retry.max_delay) == (4, (Exception,), (), 1.0, 300.0)


def test_retry_covers_what_is_in_on_and_not_in_never():
    retry = Retry(4, on=(OSError,), never=(FileNotFoundError,))
    assert retry.covers(ConnectionError())
    assert not retry.covers(FileNotFoundError())
    assert not retry.covers(ValueError())


def test_retry_after_is_always_covered_and_a_cancellation_never():
    retry = Retry(2, on=(OSError,), never=(Exception,))
    assert retry.covers(RetryAfter(3))
    assert not Retry(2, on=(BaseException,)).covers(Canceled())


def test_retry_takes_any_iterable_of_classes():
    assert Retry(2, on=[OSError], never=[KeyError]) == Retry(2, on=(OSError,), never=(KeyError,))


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((0,), {}, "attempts"),
        ((True,), {}, "attempts"),
        ((2.5,), {}, "attempts"),
        ((2,), {"backoff": -1}, "backoff"),
        ((2,), {"max_delay": math.inf}, "max_delay"),
        ((2,), {"max_delay": 1e30}, "ten years"),
        ((2,), {"on": OSError}, r"on=\(OSError,\)"),
        ((2,), {"on": ("OSError",)}, "exception classes"),
        ((2,), {"never": (int,)}, "never"),
    ],
)
def test_a_wrong_retry_is_refused_with_the_name_of_what_is_wrong(arguments, options, says):
    with pytest.raises(AuthoringError, match=says):
        Retry(*arguments, **options)


def test_batched_marks_the_function_and_returns_it():
    def predict(self, asks): ...

    assert batched(max_size=4, max_wait_ms=2.5, key=["language"])(predict) is predict
    assert predict.__longrun_batched__ == Batched(4, 2.5, ("language",))


def test_batched_works_without_parentheses():
    @batched
    def predict(self, asks): ...

    assert predict.__longrun_batched__ == Batched(8, 10, ())


@pytest.mark.parametrize(
    "options", [{"max_size": 0}, {"max_size": 1.5}, {"max_wait_ms": -1}, {"key": "language"}, {"key": (1,)}, {"key": 3}]
)
def test_a_wrong_batch_setting_is_refused(options):
    with pytest.raises(AuthoringError, match=next(iter(options))):
        batched(**options)


def test_batched_refuses_what_is_not_a_function():
    with pytest.raises(AuthoringError, match="put it under @staticmethod"):
        batched(staticmethod(len))
    with pytest.raises(AuthoringError, match="decorates"):
        batched(int)


def test_options_have_defaults():
    options = ModelOptions()
    assert (options.queue, options.gpus, options.timeout, options.processes, options.delivery) == ("default", 0, 600.0, 1, "at_least_once")
    assert options.retry is options.concurrency is options.total_timeout is options.max_memory is options.retain_for is None


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(AuthoringError, match="timout is not an option; did you mean timeout"):
        ModelOptions.of({"timout": 3})
    with pytest.raises(AuthoringError, match="there are: name, queue"):
        ModelOptions.of({"zzzzzz": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", "GPU"),
        ("queue", "a.b"),
        ("queue", "-a"),
        ("queue", "a" * 65),
        ("queue", 3),
        ("gpus", -1),
        ("gpus", 0.5),
        ("timeout", 0),
        ("timeout", math.nan),
        ("timeout", None),
        ("timeout", "60"),
        ("total_timeout", 0),
        ("start_within", -1),
        ("retry", 4),
        ("processes", 0),
        ("concurrency", 0),
        ("concurrency", True),
        ("threads", 0),
        ("threads", True),
        ("threads", "2"),
        ("threads", 1.0),
        ("delivery", "exactly_once"),
        ("max_crashes", 0),
        ("max_jobs_per_runner", 0),
        ("max_memory", "2GB"),
        ("retain_for", -1),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_the_option(name, value):
    with pytest.raises(AuthoringError, match=name):
        ModelOptions.of({name: value})


def test_nothing_may_be_kept_after_the_end():
    assert ModelOptions(retain_for=0).retain_for == 0


@pytest.mark.parametrize("name", ["timeout", "soft_timeout", "total_timeout", "start_within", "retain_for", "load_timeout"])
def test_no_duration_is_so_long_that_its_end_is_no_date(name):
    with pytest.raises(AuthoringError, match=f"{name} is 315360000 .* at most; got 1e.30"):
        ModelOptions(**{name: 1e30})
