"""What is tried again, when, for how long, and what is said in the end."""

from __future__ import annotations

import pytest

from longrun.client.http.retry import is_doubtful, retry_after
from longrun.client.http.steps import Answer, Lost, Request
from longrun.client.protocol.calls import call, call_json, delete
from longrun.client.protocol.submit import submit
from longrun.errors import ApiError, CallError, Unreachable

from .played import BROKEN, REFUSED, SILENT, Played, answer, problem

GET = Request("GET", "/models")


@pytest.mark.parametrize("passing", [REFUSED, BROKEN, SILENT, *(answer(status) for status in (429, 502, 503, 504))])
def test_what_may_pass_is_tried_again(passing: Answer | Lost) -> None:
    played = Played([passing, passing, answer(200, {"models": []})])

    assert played.run(call_json(played.rules(), GET)) == {"models": []}
    assert len(played.requests) == 3
    assert played.said == ["http://x does not serve right now, trying again"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 424, 500, 501, 507])
def test_what_stays_as_it_is_is_not_tried_again(status: int) -> None:
    played = Played([problem(status, "some-code")])

    with pytest.raises(ApiError) as caught:
        played.run(call(played.rules(), GET))

    assert (caught.value.status, caught.value.code, len(played.requests)) == (status, "some-code", 1)


def test_what_cannot_be_sent_at_all_is_not_tried_again() -> None:
    played = Played([Lost("LocalProtocolError", hopeless=True)])

    with pytest.raises(Unreachable):
        played.run(call(played.rules(), GET))

    assert len(played.requests) == 1


def test_pauses_double_up_to_a_bound_and_patience_has_an_end() -> None:
    played = Played([BROKEN])

    with pytest.raises(Unreachable) as caught:
        played.run(call(played.rules(retry_for=20), GET))

    assert played.slept[:6] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert sum(played.slept) == pytest.approx(20)
    assert str(caught.value) == "http://x does not answer (ReadError)"


@pytest.mark.parametrize(("dice", "pauses"), [(0.0, [0, 0]), (0.5, [0.1, 0.2])])
def test_pauses_are_random_from_nothing_up(dice: float, pauses: list[float]) -> None:
    played = Played([BROKEN, BROKEN, answer(200)], dice=dice)

    played.run(call(played.rules(), GET))

    assert played.slept == pytest.approx(pauses)


def test_the_pause_that_the_server_asks_for_is_kept() -> None:
    played = Played([answer(503, retry_after="7"), answer(429, retry_after="1"), answer(200)], dice=0.0)

    played.run(call(played.rules(), GET))

    assert played.slept == [7, 1]


def test_a_pause_longer_than_our_patience_is_not_waited_for() -> None:
    played = Played([answer(503, {"code": "queue-full"}, retry_after="3600")])

    with pytest.raises(ApiError) as caught:
        played.run(call(played.rules(), GET))

    assert caught.value.code == "queue-full"
    assert played.slept == []


def test_a_pause_is_a_minute_at_most_for_who_has_more_patience() -> None:
    played = Played([answer(503, retry_after="3600"), answer(200)])

    played.run(call(played.rules(retry_for=7200), GET))

    assert played.slept == [60]


def test_without_patience_there_is_one_try() -> None:
    played = Played([answer(503, retry_after="0")])

    with pytest.raises(ApiError):
        played.run(call(played.rules(retry_for=0), GET))

    assert len(played.requests) == 1


def test_where_nothing_listens_patience_may_be_shorter() -> None:
    played = Played([REFUSED])

    with pytest.raises(Unreachable):
        played.run(call(played.rules(retry_for=30, refused_for=2), GET))

    assert sum(played.slept) == pytest.approx(2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 0), ("", 0), ("7", 7), (" 7 ", 7), ("Thu, 01 Jan 1970 00:02:00 GMT", 20), ("soon", 0), ("-1", 0), ("٣", 0)],
)
def test_retry_after_is_a_number_or_a_date(text: str | None, seconds: float) -> None:
    assert retry_after(text, now=lambda: 100.0) == seconds


def test_a_submit_carries_a_key_the_same_in_every_try_and_another_in_every_submit() -> None:
    played = Played([BROKEN, answer(503), answer(202, {"id": "job_1"})])
    for _ in range(2):
        played.run(submit(played.rules(), "m", {}, {}))

    keys = [request.headers["Idempotency-Key"] for request in played.requests]
    assert len(keys[0]) == 32
    assert keys == [keys[0]] * 3 + [keys[3]]
    assert keys[3] != keys[0]


@pytest.mark.parametrize(
    ("replies", "may_exist"),
    [
        ([REFUSED], False),
        ([BROKEN], True),
        ([BROKEN, REFUSED], True),
        ([problem(503, "queue-full")], False),
        ([problem(503, "submit-unconfirmed", job_id="job_9")], True),
        ([answer(504)], True),
        ([BROKEN, problem(422, "validation-failed")], False),
        ([BROKEN, problem(507, "storage-full")], True),
    ],
)
def test_a_submit_that_is_given_up_says_whether_the_job_may_exist(replies: list[Answer | Lost], may_exist: bool) -> None:
    played = Played(list(replies))

    with pytest.raises(CallError) as caught:
        played.run(submit(played.rules(retry_for=1), "m", {}, {"idempotency_key": "order-7"}))

    assert caught.value.may_exist == may_exist
    assert caught.value.idempotency_key == "order-7"
    assert ("submit it again with idempotency_key='order-7'" in str(caught.value)) == may_exist
    if "submit-unconfirmed" in str(caught.value):
        assert caught.value.job_id == "job_9"


def test_only_a_submit_speaks_of_a_job_that_may_exist() -> None:
    played = Played([BROKEN])

    with pytest.raises(Unreachable) as caught:
        played.run(call(played.rules(), Request("POST", "/jobs/job_1/cancel")))

    assert not caught.value.may_exist


def test_a_job_that_is_gone_after_a_delete_without_an_answer_was_deleted_by_us() -> None:
    gone = problem(410, "job-gone")
    played = Played([BROKEN, gone])
    played.run(delete(played.rules(), "/jobs/job_1"))

    with pytest.raises(ApiError):
        Played([gone]).run(delete(played.rules(), "/jobs/job_1"))


@pytest.mark.parametrize(
    ("reply", "doubtful"), [(BROKEN, True), (SILENT, True), (REFUSED, False), (answer(502), True), (answer(503), False)]
)
def test_a_try_is_doubtful_when_it_may_have_had_its_effect(reply: Answer | Lost, doubtful: bool) -> None:
    assert is_doubtful(reply) == doubtful
