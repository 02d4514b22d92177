"""Which step a call is when the code runs again: nothing is paid twice, nobody gets another's result, and nothing is ever stuck."""

from __future__ import annotations

import random

import pytest
from tests.unit.models.steps.programs import Line, Program, Store, play, size

from longrun.errors import StepConflict
from longrun.models.steps.awaits import Want
from longrun.models.steps.identity import Identities
from longrun.models.steps.journal import Entry, Mark


def program_of(rng: random.Random, clock: float, *, any_order: bool = False) -> Program:
    """Branches of calls; `clock`: how many of the inputs differ at each run. `any_order`: of some parts the calls come in any order."""
    lines: Program = []
    for branch in range(rng.choice([1, 2, 4, 8])):
        parts: list[list[Line]] = []
        for part in range(rng.choice([1, 2, 4])):
            model = rng.choice("ab")
            if any_order and rng.random() < 0.5:
                parts.append([Line(f"{branch}.{part}.{each}", model, True) for each in range(3)])
            else:
                same = rng.random() < 0.2  # as another branch has it
                truth = f"same#{branch}.{part}" if same else f"{branch}.{part}"
                parts.append([Line(truth, model, same or rng.random() >= clock)])
        lines.append(parts)
    return lines


@pytest.mark.parametrize("programs", [600, pytest.param(5_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("clock", [0.0, 0.3, 1.0])
def test_programs_that_are_killed_twice_pay_once_and_swap_nothing(clock: float, programs: int) -> None:
    for seed in range(programs // 3):
        rng = random.Random(f"{seed} {clock}")
        program, store = program_of(rng, clock), Store()
        paid = 0
        for _ in range(2):
            cut = play(program, store, rng, cut=rng.randrange(4 * size(program)))
            assert not cut.stuck and not cut.swapped, seed
            paid += cut.paid
            for _ in range(rng.randrange(3)):  # children end while nobody holds the parent
                store.end_one(rng)
        last = play(program, store, rng)
        assert last.done, seed
        assert (last.swapped, paid + last.paid) == (0, size(program)), seed
        assert not last.unused, seed
        again = play(program, store, rng)
        assert (again.done, again.paid, again.swapped) == (True, 0, 0), seed


def test_calls_with_the_same_input_may_come_in_any_order() -> None:
    """Also on one branch, where each stands at another's place then."""
    for seed in range(300):
        rng = random.Random(seed)
        program, store = program_of(rng, 0.0, any_order=True), Store()
        play(program, store, rng)
        again = play(program, store, rng)
        assert (again.done, again.paid, again.swapped, again.warnings) == (True, 0, 0, []), seed


def test_edited_programs_pay_for_what_has_changed_alone() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        program, store = program_of(rng, 0.0, any_order=True), Store()
        play(program, store, rng)
        edited: Program = []
        for number, parts in enumerate(program):
            copy = [list(part) for part in parts]
            if rng.random() < 0.5:
                rng.shuffle(copy)  # moved: the same
            if rng.random() < 0.5:
                copy.insert(rng.randrange(len(copy) + 1), [Line(f"new {number}", "a", True)])
            if rng.random() < 0.3 and len(copy) > 1:
                copy.pop(rng.randrange(len(copy)))
            edited.append(copy)
        new = sum(line.truth.startswith("new") for parts in edited for part in parts for line in part)
        last = play(edited, store, rng, code="c1")
        assert last.done, seed
        assert (last.swapped, last.paid) == (0, new), seed
        assert len(last.unused) == size(program) + new - size(edited), seed


def test_a_replay_goes_on_in_the_order_in_which_steps_ended() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        program: Program = [[[Line(f"{branch}", "a", True)]] for branch in range(6)]
        store = Store()
        first = play(program, store, rng)
        assert play(program, store, rng).got == first.got, seed


def want(name: str = "", digest: str = "d1", place: str = ":draw.0", group: str = "draw") -> Want:
    return Want("run", group, name, digest, place)


def child(digest: str, place: str, code: str = "c0", at: int = 0) -> Entry:
    return Entry("c", 0, at, Mark(code, place, digest))


def test_a_name_comes_before_content_and_place() -> None:
    known = Identities({"n:logo": child("d9", ":draw.5"), "draw:d1:0": child("d1", ":draw.0")}, "c0")
    found = known.named(want("logo"))
    assert (found.key, found.changed) == ("n:logo", True)
    assert known.named(want("logo")).key == "n:logo", "the same call once more is the same step"
    with pytest.raises(StepConflict, match="two calls of draw with different inputs"):
        known.named(want("logo", "d2"))
    with pytest.raises(StepConflict, match="draw and judge"):
        known.named(want("logo", group="judge"))


def test_a_name_of_another_model_is_a_step_of_its_own() -> None:
    known = Identities({"n:logo": child("d9", ":draw.5")}, "c1")
    found = known.named(want("logo", group="judge"))
    assert (found.key, found.entry) == ("n:logo@judge", None)
    assert known.unused() == ["n:logo"]


def test_content_comes_before_place() -> None:
    known = Identities({"draw:d1:0": child("d1", ":draw.0"), "draw:d2:0": child("d2", ":draw.1")}, "c0")
    first, second = known.decide([want(digest="d2", place=":draw.0"), want(digest="d3", place=":draw.1")], sure=True)
    assert first and second
    assert (first.key, first.changed) == ("draw:d2:0", False)
    assert (second.key, second.entry) == ("draw:d3:0", None), "the entry of its place is another call's"


def test_place_counts_in_the_same_code_alone() -> None:
    for code, key in (("c0", "draw:d1:0"), ("c1", "draw:d2:0")):
        (found,) = Identities({"draw:d1:0": child("d1", ":draw.0")}, code).decide([want(digest="d2")], sure=True)
        assert found and found.key == key


def test_equal_calls_are_paired_by_place_then_by_number() -> None:
    known = Identities({"draw:d1:0": child("d1", "/b.1:draw.0"), "draw:d1:1": child("d1", "/b.0:draw.0")}, "c0")
    calls = [want(place=f"/b.{number}:draw.0") for number in range(3)]
    assert [each.key for each in known.decide(calls, sure=True) if each] == ["draw:d1:1", "draw:d1:0", "draw:d1:2"]


def test_what_may_be_another_branchs_waits_until_all_have_asked() -> None:
    known = Identities({"draw:d1:0": child("d1", "/b.1:draw.0")}, "c0")
    assert known.decide([want(place="/b.0:draw.0"), want(digest="d2")], sure=False) == [None, None]
    assert known.decide([want(group="judge")], sure=False)[0], "of another model there is nothing to wait for"


@pytest.mark.parametrize("name", ["n", "l", "s", "v", "x", "z", "now", "first"])
def test_a_model_may_be_called_like_the_beginning_of_a_key(name: str) -> None:
    (made,) = Identities({}, "c0").decide([want(group=name, place=f":{name}.0")], sure=True)
    assert made
    (found,) = Identities({made.key: child("d1", f":{name}.0")}, "c1").decide([want(group=name)], sure=True)
    assert found and found.entry is not None
