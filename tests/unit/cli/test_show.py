"""What is printed about a job."""

from __future__ import annotations

import sys

import pytest
from tests.unit.scripted import caller_of

from longrun.cli.show import EXIT_CODES, StreamedText, Watch, describe, describe_event, describe_failure, print_output, print_table, write
from longrun.client import Event, RemoteJob
from longrun.jobs.states import TERMINAL


def event(kind: str, attempt: int = 1, **data: object) -> Event:
    return Event(1, attempt, "T", kind, data)


def started(attempt: int) -> Event:
    return event("started", attempt)


def output(attempt: int, value: object) -> Event:
    return event("output", attempt, value=value)


def test_every_terminal_state_has_its_exit_code() -> None:
    assert set(EXIT_CODES) == set(TERMINAL)
    assert EXIT_CODES == {"succeeded": 0, "failed": 1, "canceled": 3, "expired": 4}


def test_streamed_text_is_written_piece_by_piece_and_ends_with_a_newline() -> None:
    text = StreamedText()

    assert [text.take(event) for event in (started(1), output(1, "Once "), output(1, "upon"))] == ["", "Once ", "upon"]
    assert text.finish("Once upon") == "\n"


def test_a_later_attempt_that_says_the_same_is_not_written_twice() -> None:
    text = StreamedText()
    for event in (started(1), output(1, "Once "), output(1, "upon"), started(2)):
        text.take(event)

    assert [text.take(output(2, value)) for value in ("Once ", "upon", " a time")] == ["", "", " a time"]


def test_a_later_attempt_that_says_something_else_begins_on_a_new_line() -> None:
    text = StreamedText()
    for event in (started(1), output(1, "Once upon"), started(2)):
        text.take(event)

    assert text.take(output(2, "There ")) == "\nThere "
    assert text.take(output(2, "was")) == "was"
    assert text.finish("There was") == "\n"


def test_what_a_gap_has_swallowed_is_made_good_in_the_end() -> None:
    text = StreamedText()
    text.take(output(1, "lost, "))

    assert text.finish("never lost, but found") == "\nnever lost, but found\n"
    assert text.finish("never lost, but found") == "\n"


def test_streamed_values_that_are_no_text_wait_for_the_end() -> None:
    assert StreamedText().take(output(1, 5)) == ""


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (started(1), "running"),
        (started(3), "running, attempt 3"),
        (event("progress", fraction=0.42, step="decoding", message="page 3"), "running, 42% decoding: page 3"),
        (event("log", level="warning", message="a\x1b[31mb"), "warning: a [31mb"),
        (
            event("retrying", reason={"code": "timeout", "detail": "too slow"}, next_attempt_at="T"),
            "retrying at T after timeout: too slow",
        ),
        (event("canceling"), "canceling"),
        (event("queued"), None),
        (output(1, "x"), None),
        (event("done"), None),
        (event("of the future"), None),
    ],
)
def test_events_are_told_in_a_few_words(event: Event, told: str | None) -> None:
    assert describe_event(event) == told


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"status": "queued", "position": 3, "terminal": False}, "queued, position 3"),
        ({"status": "running", "progress": {"fraction": 0.5, "step": None}, "terminal": False}, "running, 50%"),
        ({"status": "succeeded", "progress": {"fraction": 1}, "terminal": True}, "succeeded"),
        ({"status": "retrying", "next_attempt_at": "T", "terminal": False}, "retrying, runs at T"),
        ({"status": "dreaming", "terminal": False}, "dreaming"),
    ],
)
def test_a_job_is_told_in_a_few_words(job: dict[str, object], told: str) -> None:
    assert describe(job) == told


def test_a_failure_is_told_with_code_detail_and_cause() -> None:
    job = {"id": "job_1", "status": "failed", "error": {"code": "model-error", "detail": "no luck", "cause": "OSError"}}

    assert describe_failure(job) == "job_1 failed: model-error: no luck (OSError)"
    assert describe_failure({"id": "job_1", "status": "canceled", "error": None}) == "job_1 canceled"


def test_outputs_are_text_as_it_is_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_output("ÄÖ\n")
    print_output("no newline")
    print_output({"a": [1, "ß"]})

    assert capsys.readouterr().out == 'ÄÖ\nno newline\n{\n  "a": [\n    1,\n    "ß"\n  ]\n}\n'


def test_a_table_in_a_pipe_is_one_line_per_row_whatever_the_values_hold(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("1", "x\ty\nz"), ("2", "[bold]")])

    assert capsys.readouterr().out == "1\tx y z\n2\t[bold]\n"


def test_text_that_the_terminal_cannot_show_does_not_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    write("grün")

    assert raw.getvalue() == b"gr?n"


def test_in_a_pipe_each_change_is_one_line_and_repeats_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(stream_text=True)
    for position in (2, 2, 1):
        watch.on_job(
            RemoteJob(caller_of("http://x"), {"id": "job_1", "status": "queued", "position": position, "terminal": False, "progress": None})
        )
    watch.on_event(started(1))
    watch.on_event(output(1, "hi"))
    watch.close()

    out, err = capsys.readouterr()
    assert err == "queued, position 2\nqueued, position 1\nrunning\n"
    assert out == "hi"


def test_on_a_terminal_a_log_line_does_not_begin_in_the_middle_of_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setattr(stream, "write", shown.append)
    watch = Watch(stream_text=True)
    watch.close()  # the bar, which the first piece of text would take away
    shown.clear()
    for each in (output(1, "one "), event("log", message="half"), output(1, "two "), started(2), output(2, "anew")):
        watch.on_event(each)

    assert "".join(shown) == "one \ninfo: half\ntwo \nanew"


def test_for_json_nothing_but_the_result_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Watch(stream_text=False).on_event(output(1, "hi"))

    assert capsys.readouterr().out == ""


def test_a_job_that_is_tried_again_says_when_and_why() -> None:
    job = {"status": "retrying", "terminal": False, "next_attempt_at": "T", "error": {"code": "timeout"}}
    assert describe(job) == "retrying, runs at T after timeout"
    assert describe(job | {"status": "scheduled", "error": None}) == "scheduled, runs at T"


def test_a_failure_is_told_with_what_is_known_of_its_process() -> None:
    error = {"code": "worker-lost", "detail": "it died", "exit_code": 0, "peak_memory": 5 << 20}
    assert describe_failure({"id": "j", "status": "failed", "error": error}).splitlines() == [
        "j failed: worker-lost: it died",
        "  exit code: 0",
        "  peak memory: 5 MiB",
    ]


def test_who_follows_a_job_that_asks_reads_where_the_question_stands(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(stream_text=False)
    watch.on_job(RemoteJob(caller_of("http://x"), {"id": "job_1", "status": "running", "terminal": False, "progress": None}))
    watch.on_event(event("waiting", **{"for": ["ok"], "until": None}))
    assert capsys.readouterr().err.endswith("waiting to be answered: ok; see `longrun jobs show job_1`\n")
