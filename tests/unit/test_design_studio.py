"""The design studio without Longrun: its flow on a queue made by hand, its other adapters, and what it says of its calls.

The models that draw are not in Longrun's environment: `make example NAME=design_studio` runs them.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from examples.demo import DemoError
from examples.design_studio import domain, pictures, run
from examples.design_studio.calls import CallLog, Line, read, tally
from examples.design_studio.domain import MARKS, PALETTES, VERSIONS, Busy, Order, Style, Unavailable, Verdict, design
from examples.design_studio.in_process import Threads
from examples.design_studio.provider import HttpProvider, chosen_provider
from PIL import Image
from tests.studio_provider import StubProvider, served

from longrun import Job
from longrun.models import isolated_registry

with isolated_registry():  # the names of its models must not meet those of other tests
    from examples.design_studio import flow

ORDER = Order("a tea house in the hills", "Jade")
STYLE = Style("forest", list(MARKS), 0.2)


class FakeQueue:
    """Does each step at once, and remembers what it was asked; pictures are texts."""

    def __init__(self, scores: Sequence[float] = (0.1, 0.4, 0.9, 0.4), choice: int | None = None) -> None:
        self.scores, self.choice, self.asked = list(scores), choice, list[Any]()

    async def analyse(self, brief: str) -> Style:
        self.asked.append(("analyse", brief))
        return STYLE

    def draw(self, prompt: str, style: Style, version: int) -> tuple[str, str]:
        return "draw", f"draft {version}"

    def finish(self, draft: str, name: str, style: Style, version: int) -> tuple[str, str]:
        return "finish", f"{draft} as {name} {version}"

    async def together(self, steps: Sequence[tuple[str, str]]) -> list[str]:
        self.asked.append([kind for kind, _ in steps])
        return [picture for _, picture in steps]

    async def judge(self, pictures: Sequence[str], name: str) -> Verdict:
        self.asked.append(("judge", len(pictures)))
        return Verdict(self.scores, ["because"] * len(self.scores))

    async def choose(self, pictures: Sequence[str], verdict: Verdict) -> int | None:
        self.asked.append(("choose", list(pictures), verdict.best))
        return self.choice


async def test_the_flow_draws_four_side_by_side_finishes_each_and_asks_a_person_last() -> None:
    queue = FakeQueue()
    made = await design(ORDER, queue)
    finished = [f"draft {version} as Jade {version}" for version in range(4)]
    assert queue.asked == [("analyse", ORDER.brief), ["draw"] * 4, ["finish"] * 4, ("judge", 4), ("choose", finished, 2)]
    assert made.versions == finished


async def test_the_judges_choice_stands_when_nobody_answers_and_a_persons_choice_before_it() -> None:
    alone = await design(ORDER, FakeQueue(choice=None))
    assert (alone.chosen, alone.by_person) == (2, False)
    asked = await design(ORDER, FakeQueue(choice=0))
    assert (asked.chosen, asked.by_person) == (0, True)


def test_of_equal_scores_the_first_is_best() -> None:
    assert Verdict([0.4, 0.9, 0.9], [""] * 3).best == 1


def test_a_style_that_the_studio_does_not_know_is_refused() -> None:
    for palette, marks, roughness in (("neon", list(MARKS), 0.5), ("coast", ["circle"], 0.5), ("coast", list(MARKS), 1.5)):
        with pytest.raises(ValueError, match="not a style"):
            Style(palette, marks, roughness)


@pytest.mark.parametrize("name", ["", "   ", "&&", "J\nade", "Jade\n", "Jadé", "x" * 25])
def test_a_name_that_cannot_be_set_in_type_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name must be"):
        Order("tea", name)


def test_the_domain_needs_nothing_but_python() -> None:
    tree = ast.parse(Path(domain.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= sys.stdlib_module_names | {"collections.abc"}


def test_only_the_adapter_imports_longrun() -> None:
    folder = Path(domain.__file__).parent
    importers = {path.name for path in folder.glob("*.py") if re.search(r"^\s*(import|from) longrun\b", path.read_text(), re.MULTILINE)}
    assert importers <= {"flow.py"}


@pytest.mark.parametrize("seed", range(3))
def test_in_this_process_each_piece_of_work_is_billed_once_whatever_fails(seed: int, tmp_path: Path) -> None:
    stub = StubProvider(seed, faulty=0.5, slow=0.01, best=3)
    with served(stub) as url:
        made = asyncio.run(design(ORDER, Threads(HttpProvider(url), CallLog(tmp_path / "calls"), backoff=0.01)))
    assert stub.faults and len(stub.calls) > len(stub.billed)
    assert stub.bill == {"analyse": 1, "draw": VERSIONS, "judge": 1}
    assert (made.chosen, made.by_person) == (3, False)
    assert [pictures.from_png(version).size for version in made.versions] == [(pictures.SIDE, pictures.SIDE)] * VERSIONS
    finished = Counter({(each.step, each.version): each.finished for each in tally(read(tmp_path / "calls"))})
    assert set(finished.values()) == {1} and len(finished) == 2 + 2 * VERSIONS


async def test_a_draw_that_fails_for_good_ends_the_order_after_its_neighbours(tmp_path: Path) -> None:
    class Broken(HttpProvider):
        def draw(self, prompt: str, style: Style, version: int, key: str) -> bytes:
            if version == 1:
                raise Unavailable("no paint")
            return super().draw(prompt, style, version, key)

    stub = StubProvider(slow=0.05)
    with served(stub) as url:
        with pytest.raises(Unavailable, match="no paint"):
            await design(ORDER, Threads(Broken(url), CallLog(None), backoff=0))
        assert stub.bill == {"analyse": 1, "draw": VERSIONS - 1}


async def test_a_person_may_choose_in_this_process_too() -> None:
    def third(shown: Sequence[bytes], verdict: Verdict) -> Awaitable[int]:
        return asyncio.sleep(0, 2)

    with served(StubProvider(best=0)) as url:
        made = await design(ORDER, Threads(HttpProvider(url), CallLog(None), choose=third))
    assert (made.verdict.best, made.chosen, made.by_person) == (0, 2, True)


@pytest.mark.parametrize(("answer", "chosen", "by"), [(TimeoutError, 2, "judge"), ({"version": 4}, 4, "person")])
async def test_on_longrun_without_a_server(monkeypatch: pytest.MonkeyPatch, answer: Any, chosen: int, by: str) -> None:
    stub = StubProvider(best=1)
    with served(stub) as url:
        monkeypatch.setenv("STUDIO_URL", url)
        made = await flow.logo(ORDER.brief, ORDER.name, Job(signals={"choose": answer}))
    assert (made.chosen, made.chosen_by, made.scores) == (chosen, by, [0.5, 0.9, 0.5, 0.5])
    assert [version.pil().size for version in made.versions] == [(pictures.SIDE, pictures.SIDE)] * VERSIONS
    assert made.picture.read() == made.versions[chosen - 1].read() != made.versions[0].read()
    assert stub.bill == {"analyse": 1, "draw": VERSIONS, "judge": 1}


def provider(status: int, body: Any = None, headers: dict[str, str] | None = None, seen: list[httpx.Request] | None = None) -> HttpProvider:
    """One whose service always answers that."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=body, headers=headers)

    return HttpProvider("https://provider.example/v1/", "secret", transport=httpx.MockTransport(handle))


def test_a_paid_call_carries_its_key_and_the_token() -> None:
    seen: list[httpx.Request] = []
    data = provider(200, {"data": [{"b64_json": base64.b64encode(b"picture").decode()}]}, seen=seen).draw("a hill", STYLE, 1, "key_7")
    assert data == b"picture"
    assert (str(seen[0].url), seen[0].headers["Idempotency-Key"], seen[0].headers["Authorization"]) == (
        "https://provider.example/v1/images/generations",
        "key_7",
        "Bearer secret",
    )
    assert "a hill" in json.loads(seen[0].content)["prompt"]


@pytest.mark.parametrize(
    ("header", "after"), [("7", 7), ("0.5", 0.5), ("Mon, 30 Nov 2026 20:00:00 GMT", 2), ("-3", 2), ("9999", 60), ("nan", 2)]
)
def test_too_many_requests_says_when_to_call_again(header: str, after: float) -> None:
    with pytest.raises(Busy) as caught:
        provider(429, headers={"Retry-After": header}).analyse("tea", "k")
    assert caught.value.after == after


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {}),
        (200, {"choices": []}),
        (200, {"choices": [{"message": {"content": "Sure! Here you are"}}]}),
        (200, {"choices": [{"message": {"content": '{"palette": "neon", "marks": [], "roughness": 0}'}}]}),
        (200, {"choices": [{"message": {"content": "[]"}}]}),
        (200, []),
    ],
)
def test_what_a_second_try_may_mend_is_unavailable(status: int, body: Any) -> None:
    with pytest.raises(Unavailable):
        provider(status, body).analyse("tea", "k")


def test_scores_for_other_pictures_than_were_shown_are_no_verdict() -> None:
    content = json.dumps({"scores": [1, 0], "reasons": ["a", "b"]})
    with pytest.raises(Unavailable, match="2 scores for 3 pictures"):
        provider(200, {"choices": [{"message": {"content": content}}]}).judge([b"1", b"2", b"3"], "Jade", "k")


def test_a_wrong_token_is_not_tried_again() -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        provider(401, {}).analyse("tea", "k")


def test_the_service_is_taken_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_URL", "https://provider.example/v1")
    assert isinstance(chosen_provider(), HttpProvider)
    monkeypatch.delenv("STUDIO_URL")
    assert type(chosen_provider()).__name__ == "LocalModels"


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_inside_its_square_and_the_name_below_it(mark: str) -> None:
    mask = np.asarray(pictures.shape(mark, 100))
    assert 0.2 < mask.mean() / 255 < 0.8
    assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()
    plain = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(plain, "PNG")
    style = Style("forest", [mark, *(each for each in MARKS if each != mark)], 0)
    named, other = (pictures.from_png(pictures.brand(plain.getvalue(), name, style, 0)) for name in ("Jade", "Jade & Daughters of 1890"))
    differs = np.argwhere((np.asarray(named) != np.asarray(other)).any(axis=2))
    left, top, right, bottom = pictures.NAME_BOX
    assert (differs >= (top, left)).all() and (differs < (bottom, right)).all() and len(differs) > 0


@pytest.mark.parametrize("palette", PALETTES)
def test_a_relief_has_its_palettes_colours_from_low_to_high(palette: str) -> None:
    slope = np.tile(np.linspace(-5, 40, 64, dtype="float32"), (64, 1))
    picture = pictures.relief(slope, palette)
    lowest, highest = np.asarray(picture, float)[:, 2].mean(), np.asarray(picture, float)[:, -3].mean()
    assert picture.size == (64, 64) and lowest < highest


def test_what_was_killed_has_begun_and_not_finished(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    code = (
        "import os, sys, pathlib; from examples.design_studio.calls import CallLog\n"
        f"with CallLog(pathlib.Path({str(log)!r})).call('draw', 1, 'k'):\n    if sys.argv[1] == 'die': os.kill(os.getpid(), 9)"
    )
    for how in ("die", "live"):
        subprocess.run([sys.executable, "-c", code, how], cwd=Path(__file__).parents[2])
    with CallLog(log).call("judge"):
        pass
    assert [(line.event, line.step, line.version) for line in read(log)] == [
        ("began", "draw", 1),
        ("began", "draw", 1),
        ("finished", "draw", 1),
        ("began", "judge", None),
        ("finished", "judge", None),
    ]
    assert read(log)[-1].pid == os.getpid()
    drawn, judged = tally(read(log))
    assert (drawn.began, drawn.finished, judged.began, judged.finished) == (2, 1, 1, 1)
    assert 0 <= drawn.seconds < read(log)[2].at - read(log)[0].at  # those of the one that was killed do not count


def test_a_call_that_raises_has_not_finished(tmp_path: Path) -> None:
    with pytest.raises(Busy), CallLog(tmp_path / "calls").call("draw", 0):
        raise Busy(1)
    assert [line.event for line in read(tmp_path / "calls")] == ["began"]
    assert read(tmp_path / "none") == []


def lines(*texts: str) -> list[Line]:
    """A log of calls, a second apart: `+draw1` has begun, `-draw1` has finished."""
    made = []
    for at, text in enumerate(texts):
        step, number = re.fullmatch(r"[+-]([a-z]+)(\d?)", text).groups()  # type: ignore[union-attr]
        made.append(Line("began" if text[0] == "+" else "finished", step, int(number) if number else None, "k", 7, float(at)))
    return made


def test_the_driver_takes_the_second_draw_that_is_at_work() -> None:
    begun = lines("+logo", "+analyse", "-analyse", "+draw3")
    assert run.second_draw(begun) is None
    for more, taken in ((["+draw0", "-draw3", "+draw2"], 0), (["+draw0", "-draw0", "+draw2"], 2), (["+draw0", "-draw0"], None)):
        found = run.second_draw([*begun, *lines(*more)])
        assert (found.version if found else None) == taken
    with pytest.raises(DemoError, match="before one could be killed"):
        run.second_draw(lines(*(f"{sign}draw{n}" for n in range(4) for sign in "+-")))


def test_the_driver_kills_the_draw_and_the_flow_and_lets_a_draw_go_that_has_just_finished() -> None:
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code]) as draw, subprocess.Popen([sys.executable, "-c", code]) as flow:
        try:
            begun = [replace(line, pid=flow.pid if line.step == "logo" else draw.pid) for line in lines("+logo", "+draw0", "+draw1")]
            answers = [begun, [*begun, *lines("-draw1", "+draw2")]]
            assert run.strike(lambda: answers.pop(0)) == [] and answers == []
            assert psutil.Process(draw.pid).status() != psutil.STATUS_STOPPED
            assert [(line.step, line.version) for line in run.strike(lambda: begun)] == [("draw", 1), ("logo", None)]
            assert (draw.wait(), flow.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
        finally:
            draw.kill()
            flow.kill()


ONCE = ["+analyse", "-analyse", *(f"{sign}{step}{n}" for step in ("draw", "finish") for n in range(4) for sign in "+-"), "+judge", "-judge"]


def test_the_driver_finds_what_was_done_again_what_is_missing_and_what_proves_nothing() -> None:
    cut, before = lines("+logo", "+draw1"), lines("+logo", "+analyse", "-analyse", "+draw0", "+draw1")
    good = ["+logo", *ONCE, "+logo", "-logo", "+draw1"]
    run.check(tally(lines(*good)), before, cut)
    wrongs = {
        "done again.*analyse": [*good, "+analyse"],
        "done again.*'draw', version=2": [*good, "+draw2", "-draw2"],
        "never done.*judge": [each for each in good if "judge" not in each],
        "not to the end.*finish": [each for each in good if each != "-finish3"],
        "not to the end.*draw": good[:-1],  # the one that was killed was not drawn again
    }
    for message, calls in wrongs.items():
        with pytest.raises(DemoError, match=message):
            run.check(tally(lines(*calls)), before, cut)
    with pytest.raises(DemoError, match="nothing was proven"):
        run.check(tally(lines(*good)), lines("+logo", "+draw0", "+draw1"), cut)


def test_each_file_of_the_studio_is_in_its_readme() -> None:
    folder = Path(domain.__file__).parent
    named = set(re.findall(r"^\| `(\w+\.py)` \|", (folder / "README.md").read_text(), re.MULTILINE))
    assert named == {path.name for path in folder.glob("*.py")} - {"__init__.py"}
