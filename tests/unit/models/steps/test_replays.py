"""Jobs with steps that run again: after a crash at any moment, in another epoch, with other code."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.models.steps.played import Crash, World

from longrun import Image, Job, StepFailed, model
from longrun.jobs.file_refs import FileRef, as_output, reference
from longrun.models import isolated_registry

with isolated_registry():

    @model
    def draw(prompt: str, seed: int = 0) -> str:
        """Played by `World.answers`."""
        return ""

    @model
    def paint(prompt: str) -> Image:
        """Likewise."""
        raise NotImplementedError

    @model
    def look(image: Image, note: str = "") -> int:
        """Likewise."""
        return 0

    @model
    def rows(most: int) -> list[int]:
        """Likewise."""
        return []


def world() -> World:
    return World({"draw": lambda given: f"{given['prompt']} {given.get('seed', 0)}"})


def flow(job: Job) -> Any:
    """Of each kind something."""
    began = job.now().isoformat()
    listed = job.step("list", lambda: ["a", ("b", 1)])
    draws = job.gather(*(job.call(draw, prompt=began, seed=seed) for seed in range(3)))
    job.sleep(3600)
    winner = job.first(job.call(draw, prompt="x", key="x"), job.call(draw, prompt="y"))
    many = job.map(draw, ({"prompt": f"{job.random.random()}"} for _ in range(5)), limit=2)
    answer = job.wait_for("go", bool)
    return began, listed, draws, winner, many, answer


def test_a_crash_at_any_moment_repeats_nothing_that_ended() -> None:
    first = world()
    first.signals["go"] = b"true"
    whole = first.attempt(flow)
    assert len(first.paid) == 9, "of the race one, the loser was stopped"
    for crash in range(len(first.log)):
        again = world()
        again.signals["go"] = b"true"
        with pytest.raises(Crash):
            again.attempt(flow, crash=crash)
        began, *rest = again.attempt(flow)
        assert rest[0] == whole[1] and rest[1:] == [[f"{began} {seed}" for seed in range(3)], *whole[3:]], crash
        assert len(again.paid) == 9, crash
        assert again.warnings == [], crash
    before = first.trips
    assert first.attempt(flow) == whole
    assert (len(first.paid), first.trips - before) == (9, 8), "one trip for each await, and one for each round of the map"


def test_a_clock_in_an_input_is_found_by_its_place_and_said() -> None:
    played = world()
    ticks = iter(range(10))

    def clock(job: Job) -> list[str]:
        return [job.run(draw, prompt=f"{next(ticks)}"), job.run(draw, prompt="fixed")]

    assert played.attempt(clock) == played.attempt(clock) == ["0 0", "fixed 0"]
    assert len(played.paid) == 2
    (warning,) = played.warnings
    assert warning.startswith("step-input-changed: the step at :draw.0 (draw) has another input")
    assert "job.now()" in warning


def test_a_named_step_keeps_its_result_whatever_its_input() -> None:
    played = world()
    assert played.attempt(lambda job: job.run(draw, prompt="a", key="logo")) == "a 0"
    assert played.attempt(lambda job: job.run(draw, prompt="b", key="logo"), version="c1") == "a 0"
    assert "rename it to run it anew" in played.warnings[0]


def test_other_code_runs_its_own_steps_and_marks_those_of_before() -> None:
    played = world()
    played.attempt(lambda job: [job.run(draw, prompt="a"), job.run(draw, prompt="b"), job.step("old", int)])
    assert played.attempt(lambda job: [job.run(draw, prompt="c"), job.run(draw, prompt="b")], version="c1") == ["c 0", "b 0"]
    assert [given["prompt"] for _, given in played.paid] == ["a", "b", "c"]
    unused = [key.removeprefix("u:") for key, value in played.fields.items() if value == b"1"]
    assert [key.partition(":")[0] for key in unused] == ["draw", "l"]
    assert played.warnings[0].startswith(
        f"steps-unused: the code has changed and does not ask for these steps any more: {unused[0]}, l:old; they have used usd 1"
    )


def test_a_failure_is_the_same_in_its_epoch_and_tried_again_in_the_next() -> None:
    played, good = world(), False
    played.answers["draw"] = lambda given: "good" if good or given["prompt"] == "b" else ("model-error", "no")
    calls = 0

    def local() -> str:
        nonlocal calls
        calls += 1
        if not good:
            raise ValueError("secret")
        return "local"

    def code(job: Job) -> list[Any]:
        found: list[Any] = job.gather(job.call(draw, prompt="a"), job.call(draw, prompt="b"), return_exceptions=True)
        try:
            found.append(job.step("local", local))
        except StepFailed as error:
            found.append(error)
        return found

    for _ in range(2):
        first, second, third = played.attempt(code)
        assert (first.code, first.detail, second) == ("model-error", "no", "good")
        assert (first.job_id, third.code, third.cause, third.step) == (f"job_of_{first.step}", "model-error", "ValueError", "l:local")
    assert (len(played.paid), calls) == (2, 1)
    good = True
    played.retry()
    assert played.attempt(code) == ["good", "good", "local"]
    assert (len(played.paid), calls) == (3, 2)


def test_what_is_to_be_called_once_is_never_called_twice_unless_a_person_says_so() -> None:
    played, calls = world(), 0

    def effect() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Crash
        return "done"

    def code(job: Job) -> str:
        return str(job.step("pay", effect, once=True))

    with pytest.raises(Crash):
        played.attempt(code)
    for retry in (False, True):
        if retry:
            played.retry()
        with pytest.raises(StepFailed) as caught:
            played.attempt(code)
        assert caught.value.code == "outcome-unknown"
    assert calls == 1
    played.retry(by_caller=True)
    assert (played.attempt(code), calls) == ("done", 2)
    assert (played.attempt(code), calls) == ("done", 2)


def test_what_was_reported_before_is_not_reported_again() -> None:
    played = world()

    def code(job: Job) -> None:
        for number in range(4):
            job.log(f"before {number}")
            job.run(draw, prompt=f"{number}")
            job.usage(usd=number)
        job.log("end")

    with pytest.raises(Crash):
        played.attempt(code, crash=2)
    assert [data.get("message", data) for _, data in played.said] == ["before 0", {"usd": 0}, "before 1", {"usd": 1}, "before 2"]
    played.said.clear()
    played.attempt(code)
    assert [data.get("message", data) for _, data in played.said] == [{"usd": 1}, "before 2", {"usd": 2}, "before 3", {"usd": 3}, "end"]


def test_what_steps_have_used_is_counted_as_it_comes() -> None:
    played = world()

    def code(job: Job) -> list[float]:
        sums = [job.spent("usd")]
        for number in range(3):
            job.run(draw, prompt=f"{number}")
            sums.append(job.spent("usd"))
        return sums

    assert played.attempt(code) == played.attempt(code) == [0, 1, 2, 3]
    assert played.attempt(lambda job: [job.has("a"), job.run(draw, prompt="a", key="a")])[0] is False
    assert played.attempt(lambda job: [job.has("a"), job.run(draw, prompt="a", key="a")])[0] is True


class Yes(BaseModel):
    ok: bool


def test_a_signal_that_does_not_fit_is_dropped_and_the_wait_stays_open() -> None:
    played = world()
    played.signals["go"] = b'{"ok": "perhaps"}'
    with pytest.raises(AssertionError, match="waits for ever"):
        played.attempt(lambda job: job.wait_for("go", Yes))
    assert played.signals == {}
    assert "does not fit what is waited for" in played.warnings[0]
    played.signals["go"] = b'{"ok": true}'
    assert played.attempt(lambda job: [job.wait_for("go", Yes), job.wait_for("go", Yes)]) == [Yes(ok=True)] * 2


def test_a_race_has_the_same_winner_when_the_other_has_ended_since() -> None:
    played = world()

    def code(job: Job) -> str:
        return str(job.first(job.call(draw, prompt="a"), job.call(draw, prompt="b")))

    assert played.attempt(code) == "a 0"
    (loser,) = played.stopped
    played.rows[loser] = "succeeded", b'"late"'
    played.ends.insert(0, loser)
    assert played.attempt(code) == "a 0"


def test_files_of_steps_are_passed_on_without_being_opened() -> None:
    played = world()
    ref = FileRef("file_" + "a" * 32, "somewhere", 3, "sha-256=abc", "image/png", "a.png")
    played.files[ref.id] = b"png"
    played.answers |= {"paint": lambda _: as_output(ref), "look": lambda given: len(given["image"])}

    def code(job: Job) -> Any:
        image = job.run(paint, prompt="a")
        assert isinstance(image, Image)
        assert (image.id, image.size, image.digest, image.name) == (ref.id, 3, "sha-256=abc", "a.png")
        return job.run(look, image=image), image

    assert played.attempt(code)[0] == 37
    assert played.paid[1] == ("look", {"image": ref.id})
    assert played.opened == []
    assert played.attempt(code)[1].read() == b"png"
    # The same content in another file is the same input.
    other = FileRef("file_" + "b" * 32, "elsewhere", 3, "sha-256=abc", "image/png", "b.png")
    played.attempt(lambda job: [job.run(paint, prompt="a"), job.run(look, image=Image.stored(other, played))], version="c1")
    assert len(played.paid) == 2


def test_large_outputs_are_read_from_their_files() -> None:
    played = world()
    ref = FileRef("file_" + "a" * 32, "somewhere", 9, "sha-256=abc")
    played.files[ref.id] = b"[1, 2, 3]"
    played.answers["rows"] = lambda _: reference(ref)
    assert played.attempt(lambda job: job.run(rows, most=3)) == [1, 2, 3]
    large = "x" * 100_000
    assert played.attempt(lambda job: job.step("large", lambda: large)) == large
    assert b"@" in played.fields["l:large"] and len(played.fields["l:large"]) < 500
    assert played.attempt(lambda job: job.step("large", lambda: "other")) == large


def test_thousands_of_steps_leave_in_frames_of_a_hundred_and_are_not_all_held() -> None:
    played = world()
    sizes: list[int] = []
    ask = played.ask

    def counted(calls: list[list[Any]]) -> list[list[Any]]:
        sizes.append(len(calls))
        return ask(calls)

    played.ask = counted  # type: ignore[method-assign]
    found = played.attempt(lambda job: job.map(draw, ({"prompt": f"{number}"} for number in range(1050))))
    assert found == [f"{number} 0" for number in range(1050)]
    assert max(sizes) == 100
    assert len([size for size in sizes if size]) == 11
