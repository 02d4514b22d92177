"""Batches: what is sent, that each try sends all of it, and results through cut connections."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.unit.scripted import Answer as Scripted
from tests.unit.scripted import ScriptedServer

from longrun.client import AsyncClient, BatchItem, Client
from longrun.client.http.body import Lines
from longrun.client.http.steps import Request
from longrun.client.progress_bar import ProgressBar
from longrun.client.protocol.batches import line_of, results, submit_batch
from longrun.client.protocol.files import StoredFile
from longrun.client.protocol.wait import await_end
from longrun.client.resources.views import BatchView
from longrun.errors import ApiError, JobFailed, Unreachable

from .played import BROKEN, Played, Stream, answer, problem

ID = "batch_" + "0" * 32
FILE = {"id": "file_" + "1" * 32, "url": "/api/v1/files/x", "content_type": "image/png", "size": 3, "digest": "sha-256=x"}


def batch(status: str = "running", **counts: int) -> dict[str, Any]:
    all_counts = {"total": 3, "pending": 0, "succeeded": 0, "failed": 0, "canceled": 0, "expired": 0, **counts}
    ended = (all_counts["total"] - all_counts["pending"]) / all_counts["total"]
    rest = {"model": "embed", "priority": 3, "progress": ended}
    return {"id": ID, "status": status, "terminal": status in ("completed", "canceled"), "counts": all_counts, **rest}


def line(index: int, status: str = "succeeded", output: Any = None, error: Any = None) -> bytes:
    return json.dumps({"index": index, "id": f"job_{index}", "status": status, "output": output, "error": error}).encode() + b"\n"


def ndjson(*pieces: Any) -> Stream:
    return Stream(pieces, headers={"content-type": "application/x-ndjson"})


def lines_of(*inputs: bytes) -> Lines:
    lines = Lines()
    for each in inputs:
        lines.add(each)
    return lines


def sent(request: Request) -> bytes:
    assert isinstance(request.body, Lines)
    return b"".join(request.body)


def test_a_batch_sends_a_line_for_each_input_and_its_options_beside_them() -> None:
    played = Played([answer(202, batch())])

    played.run(submit_batch(played.rules(), "a/b", lines_of(b'{"x": 1}', b"{}"), {"priority": 1, "tags": ["ä"], "idempotency_key": "k"}))

    (request,) = played.requests
    path, _, query = request.path.partition("?")
    assert (request.method, path, request.headers) == ("POST", "/models/a%2Fb/batches", {"Idempotency-Key": "k"})
    assert json.loads(parse_qs(query)["options"][0]) == {"priority": 1, "tags": ["ä"]}
    assert sent(request) == b'{"x": 1}\n{}\n'


def test_a_submit_without_options_has_no_query_and_a_fresh_key() -> None:
    played = Played([answer(202, batch())])
    for _ in range(2):
        played.run(submit_batch(played.rules(), "embed", lines_of(b"{}"), {}))

    assert [request.path for request in played.requests] == ["/models/embed/batches"] * 2
    first, second = (request.headers for request in played.requests)
    assert first.keys() == second.keys() == {"Idempotency-Key"}
    assert first != second


def test_a_cut_submit_is_repeated_as_a_whole_under_the_same_key() -> None:
    played = Played([BROKEN, answer(503), answer(202, batch())])

    played.run(submit_batch(played.rules(), "embed", lines_of(b"{}", b"{}"), {}))

    assert len({request.headers["Idempotency-Key"] for request in played.requests}) == 1
    assert [sent(request) for request in played.requests] == [b"{}\n{}\n"] * 3


def test_a_batch_that_may_exist_says_so() -> None:
    played = Played([BROKEN])

    with pytest.raises(Unreachable) as caught:
        played.run(submit_batch(played.rules(retry_for=0), "embed", lines_of(b"{}"), {"idempotency_key": "k"}))

    assert (caught.value.may_exist, caught.value.idempotency_key) == (True, "k")


def test_an_option_that_a_batch_does_not_have_is_refused_here() -> None:
    with pytest.raises(TypeError, match="there is no option delay; there are idempotency_key, metadata, policy, priority, tags, webhook"):
        Played([]).run(submit_batch(Played([]).rules(), "embed", lines_of(b"{}"), {"delay": 1}))  # type: ignore[typeddict-unknown-key]


def test_files_are_uploaded_and_their_ids_stand_in_the_line(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"cat")
    played = Played([answer(201, {"id": "file_a"}), answer(201, {"id": "file_b"})])

    made = played.run(line_of(played.rules(), {"image": path, "more": [path, {"deep": b"dog"}], "kept": StoredFile(FILE), "n": 1}))

    assert json.loads(made) == {"image": "file_a", "more": ["file_a", {"deep": "file_b"}], "kept": FILE["id"], "n": 1}
    assert [request.path for request in played.requests] == ["/files", "/files"]


def test_an_input_of_nothing_is_an_empty_one_and_none_may_break_the_line() -> None:
    assert Played([]).run(line_of(Played([]).rules(), None)) == b"{}"
    assert b"\n" not in Played([]).run(line_of(Played([]).rules(), {"text": "a\nb"}))
    with pytest.raises(TypeError, match="set is no JSON value"):
        Played([]).run(line_of(Played([]).rules(), {"x": {1}}))


def test_many_lines_are_kept_on_disk_and_come_from_their_beginning_each_time() -> None:
    lines = lines_of(*[b"x" * 1000] * 2000)

    assert (lines.count, lines.length()) == (2000, 2000 * 1001)
    assert b"".join(lines) == b"".join(lines) == (b"x" * 1000 + b"\n") * 2000


def test_a_try_that_was_given_up_does_not_move_what_the_next_one_reads() -> None:
    lines = lines_of(*[b"x" * 1000] * 2000)
    given_up, next_one = iter(lines), iter(lines)

    pieces = []
    for piece in next_one:  # a thread may still be at the earlier one
        next(given_up, None)
        pieces.append(piece)

    assert b"".join(pieces) == (b"x" * 1000 + b"\n") * 2000


def test_the_end_is_waited_for_and_seen_on_the_way() -> None:
    played = Played([answer(200, batch(pending=3)), answer(200, batch(pending=1)), answer(200, batch("completed"))], takes=20)
    snapshot, seen = BatchView(None, batch(pending=3)), []

    class Seeing(ProgressBar):
        def reach(self, done: int, failed: int) -> None:
            seen.append((done, failed))

    played.run(await_end(played.rules(), snapshot.awaited(Seeing("", 3, wanted=False)), None))

    assert [request.headers["Prefer"] for request in played.requests] == ["wait=20"] * 3
    assert seen == [(0, 0), (2, 2), (3, 3)]
    assert (snapshot.status, snapshot.terminal, snapshot.progress) == ("completed", True, 1.0)


def test_while_somebody_watches_it_is_looked_at_more_often(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    played = Played([answer(200, batch(pending=1, succeeded=1, failed=1)), answer(200, batch("completed", succeeded=2, failed=1))], takes=2)

    with closing(ProgressBar("embed", range(3), wanted=True)) as bar:
        played.run(await_end(played.rules(), BatchView(None, batch(pending=3)).awaited(bar), None))

    assert [request.headers["Prefer"] for request in played.requests] == ["wait=2"] * 2
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "1 failed" in shown


def test_a_wait_that_is_too_short_names_the_batch() -> None:
    played = Played([answer(200, batch(pending=1))], takes=2)

    with pytest.raises(TimeoutError, match=f"batch {ID} has not ended within 3 s; it goes on"):
        played.run(await_end(played.rules(), BatchView(None, batch()).awaited(ProgressBar("", 3, wanted=False)), 3))


def given(played: Played, total: int, *, partial: bool = False, retry_for: float = 30) -> list[int]:
    played.run(results(played.rules(retry_for), ID, total, partial=partial))
    return [item.index for item in played.given]


def asked(played: Played) -> list[str]:
    return [request.path.removeprefix(f"/batches/{ID}/results") for request in played.requests]


def test_results_are_given_as_they_come_whatever_the_pieces() -> None:
    whole = line(0, output=["a\nb"]) + line(1, "failed", error={"code": "model-error"}) + line(2, "gone")
    played = Played([ndjson(*(whole[at : at + 7] for at in range(0, len(whole), 7)))])

    assert given(played, 3) == [0, 1, 2]
    assert played.given[0] == BatchItem(0, "job_0", "succeeded", ["a\nb"])
    assert [(item.status, item.succeeded, item.error) for item in played.given[1:]] == [
        ("failed", False, {"code": "model-error"}),
        ("gone", False, None),
    ]


def test_cut_results_go_on_behind_the_last_whole_line() -> None:
    cut = line(2)[:-4]
    played = Played([ndjson(line(0), line(1) + cut, BROKEN), answer(503), ndjson(cut), ndjson(line(2) + line(3)), ndjson(line(4))])

    assert given(played, 5) == [0, 1, 2, 3, 4]
    assert asked(played) == ["", "?after=1", "?after=1", "?after=1", "?after=3"]


def test_lines_that_are_there_already_are_not_given_twice() -> None:
    played = Played([ndjson(line(0), line(1), BROKEN), ndjson(line(0) + line(1) + line(2))])

    assert given(played, 3) == [0, 1, 2]


def test_each_result_is_a_sign_of_life_however_long_it_takes() -> None:
    played = Played([each for number in range(6) for each in (answer(503, retry_after="8"), ndjson(line(number)))])

    assert given(played, 6, retry_for=10) == [0, 1, 2, 3, 4, 5]
    assert sum(played.slept) == 48


def test_partial_results_are_asked_for_by_that_name() -> None:
    played = Played([ndjson(line(0), BROKEN), ndjson(line(1, "running"))])

    assert given(played, 2, partial=True) == [0, 1]
    assert asked(played) == ["?partial=true", "?after=0&partial=true"]


def test_a_replica_that_does_not_know_of_the_end_yet_is_asked_again_when_it_says() -> None:
    played = Played([answer(202, batch(), retry_after="3"), ndjson(line(0))])

    assert given(played, 1) == [0]
    assert played.slept == [3.0]


@pytest.mark.parametrize("bad", [ndjson(), ndjson(BROKEN), ndjson(b"<html>\n"), ndjson(b"[]\n"), answer(502)])
def test_results_that_do_not_come_are_given_up(bad: Any) -> None:
    played = Played([ndjson(line(0)), bad])

    with pytest.raises((Unreachable, ApiError)):
        given(played, 2, retry_for=10)

    assert [item.index for item in played.given] == [0]
    assert sum(played.slept) == pytest.approx(10, abs=0.5)


def test_a_batch_that_is_gone_is_an_error_at_once() -> None:
    with pytest.raises(ApiError) as caught:
        given(Played([problem(410, "batch-gone")]), 2)

    assert caught.value.code == "batch-gone"


@pytest.fixture
def embed(server: ScriptedServer) -> ScriptedServer:
    """A server with a batch of three that has ended: an output, a file, a failure."""
    ended = batch("completed", succeeded=2, failed=1)
    server.on("POST /models/embed/batches", Scripted(202, batch(pending=3)))
    server.on(f"GET /batches/{ID}", Scripted(body=ended))
    server.on(f"POST /batches/{ID}/cancel", Scripted(body=ended))
    server.on(f"GET /batches/{ID}/results", Scripted(body=line(0, output=1) + line(1, output={"made": FILE}) + line(2, "failed")))
    failed = {"id": "job_2", "status": "failed", "terminal": True, "error": {"code": "model-error", "detail": "broke"}}
    server.on("GET /jobs/job_2", Scripted(body=failed))
    return server


def test_a_batch_is_submitted_waited_for_and_read(embed: ScriptedServer) -> None:
    inputs: Iterator[dict[str, Any]] = ({"x": number} for number in range(3))
    with Client(embed.url, "") as client:
        made = client.batch("embed", inputs)
        assert (made.id, made.status, made.counts["pending"]) == (ID, "running", 3)
        items = list(made.results())
        assert made.cancel().refresh().terminal
        assert client.get_batch(ID).counts == {"total": 3, "pending": 0, "succeeded": 2, "failed": 1, "canceled": 0, "expired": 0}

    _, headers, body = embed.requests[0]
    assert body == b'{"x": 0}\n{"x": 1}\n{"x": 2}\n'
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/x-ndjson", str(len(body)))
    assert [item.output for item in items] == [1, {"made": {**FILE, "url": f"{embed.url}/api/v1/files/x"}}, None]
    assert items[1].output["made"].size == 3


def test_outputs_end_with_the_failure_of_the_first_input_without_one(embed: ScriptedServer) -> None:
    with Client(embed.url, "") as client:
        outputs = client.get_batch(ID).outputs()
        assert [next(outputs), next(outputs)["made"].id] == [1, FILE["id"]]
        with pytest.raises(JobFailed, match="job_2 failed: model-error: broke"):
            next(outputs)


async def test_the_twin_takes_inputs_of_both_kinds_and_does_the_same(embed: ScriptedServer) -> None:
    async def inputs() -> AsyncIterator[dict[str, Any]]:
        yield {"file": io.BytesIO(b"x")}
        yield {}

    embed.on("POST /files", Scripted(201, FILE))
    async with AsyncClient(embed.url, "") as client:
        made = await client.batch("embed", inputs())
        await client.batch("embed", [{"x": 1}] * 250)
        items = [item async for item in made.results()]
        assert (await (await made.cancel()).refresh()).terminal
        outputs = (await client.get_batch(ID)).outputs()
        assert [await anext(outputs), (await anext(outputs))["made"].id] == [1, FILE["id"]]
        with pytest.raises(JobFailed, match="job_2 failed: model-error: broke"):
            await anext(outputs)

    first, second = [body for name, _, body in embed.requests if name == "POST /models/embed/batches"]
    assert first == json.dumps({"file": FILE["id"]}).encode() + b"\n{}\n"
    assert second == b'{"x": 1}\n' * 250
    assert [item.status for item in items] == ["succeeded", "succeeded", "failed"]
    assert items[1].output["made"].url == f"{embed.url}/api/v1/files/x"
