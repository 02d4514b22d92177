"""What `make example NAME=design_studio` runs: the real service on this machine, and two orders.

It starts `longrun serve examples/design_studio/flow.py` and orders a logo over HTTP. While the second version is being drawn, it kills
the process that draws it and the process in which the flow waits. Was anything that had finished done again? Nobody chooses, so the
judge's choice stands. Then it orders the same once more, undisturbed, and a person chooses.
Exit status: 0 when everything was as promised, 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from examples.demo import DemoError, expect, served, wait_for

from .calls import Line, Tally, read, tally
from .domain import VERSIONS

T = TypeVar("T")
APP = Path(__file__).with_name("flow.py")
ORDER = {"brief": "a tea house in the green hills, calm and friendly", "name": "Jade & Sons"}
PATIENCE = 3  # seconds in which nobody chooses; without being told, the flow waits for 60
DONE_WITHIN = 300.0  # seconds; on a first run most of it is reading the models from disk
#: What an order runs.
STEPS = {("analyse", None), ("judge", None), *((step, version) for step in ("draw", "finish") for version in range(VERSIONS))}


def main() -> int:
    parser = argparse.ArgumentParser(description="Order a logo from the real service, and kill its processes meanwhile.")
    parser.add_argument("--brief", default=ORDER["brief"])
    parser.add_argument("--name", default=ORDER["name"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="where the pictures are written")
    asked = parser.parse_args()
    order = {"brief": asked.brief, "name": asked.name}
    try:
        with tempfile.TemporaryDirectory(prefix="longrun-studio-") as folder:
            log = Path(folder) / "calls.jsonl"
            begun = time.monotonic()
            with served(Path(folder), APP, STUDIO_CALLS=str(log)) as client:
                print(f"`longrun serve examples/design_studio/flow.py` was ready after {time.monotonic() - begun:.1f} s.")
                with_a_crash(Order(client, order | {"patience": PATIENCE}), lambda: read(log), asked.out)
                past = len(read(log))
                with_a_person(Order(client, order), lambda: read(log)[past:])
    except DemoError as error:
        print(f"\nThe example failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


class Order:
    """A job of the model `logo`: ordering it is its beginning."""

    def __init__(self, client: httpx.Client, data: Mapping[str, Any]) -> None:
        self.client, self.begun = client, time.monotonic()
        self.id = expect(client.post("/api/v1/models/logo/jobs", json={"input": data}), 202).json()["id"]
        print(f"\n{self.id}   {data['name']}: {data['brief']}")

    @property
    def age(self) -> float:
        """Seconds since it was ordered."""
        return time.monotonic() - self.begun

    def asks(self) -> dict[str, Any] | None:
        """What it asks a person; None: nothing yet. Raises DemoError: it has ended."""
        job = expect(self.client.get(f"/api/v1/jobs/{self.id}"), 200).json()
        if job["terminal"]:
            raise DemoError(f"{self.id} ended as {job['status']} before it asked: {job['error']}")
        return dict(job["asks"][0]) if job["asks"] else None

    def logo(self) -> dict[str, Any]:
        """The output, when it has ended."""
        return dict(wait_for(self.client, self.id, self.begun + DONE_WITHIN)["output"])


def with_a_crash(order: Order, look: Callable[[], list[Line]], out: Path) -> None:
    """An order of which nobody chooses, and whose runners are killed. `look` reads the log of its calls."""
    victims = until(lambda: strike(look), order.begun + DONE_WITHIN, "no second version was being drawn")
    before = look()
    killed = " and ".join(str(line.pid) for line in victims)
    print(f"In the middle of draw {1 + (victims[0].version or 0)}: killed the runners {killed}.\n")
    logo, took = order.logo(), order.age
    tallies = tally(look())
    print_calls(tallies, victims)
    check(tallies, before, victims)
    if logo["chosen_by"] != "judge":
        raise DemoError(f"nobody answered, and yet: {logo}")
    print("\nWhat had finished before the crash ran once; only the draw that was cut off was begun twice.")
    print(f"{took:.1f} s from the order to the logo, with the loading of the models, the crash and {PATIENCE} s in which nobody chose;")
    print(f"the steps add up to {seconds_of(tallies):.1f} s.\n")
    save(logo, order.client, out)


def with_a_person(order: Order, look: Callable[[], list[Line]]) -> None:
    """An order of which a person chooses the second version, by the URL that the job shows to whom it asks."""
    question = until(order.asks, order.begun + DONE_WITHIN, "nobody was asked to choose", every=0.05)
    took, tallies = order.age, tally(look())
    expect(order.client.post(question["urls"]["signal"], json={"version": 2}), 200)
    chosen = order.logo()
    shown, favourite = question["ask"]["pictures"], question["ask"]["judge_chose"]
    print(f"A person was shown {len(shown)} pictures, of which the judge liked version {favourite} best, and chose version 2.")
    if (chosen["chosen"], chosen["chosen_by"]) != (2, "person"):
        raise DemoError(f"the choice did not count: {chosen}")
    print(f"{took:.1f} s from the order to the question, undisturbed; the steps add up to {seconds_of(tallies):.1f} s.")


def strike(look: Callable[[], list[Line]]) -> list[Line]:
    """Kill the process of the second draw while it is at work, and that of the flow which waits for it. Returns their lines.

    The list is empty, and nothing was killed, while no second draw is at work. One that has just finished gets away: then it is the turn of
    the next.

    Args:
        look: reads the log of the order's calls.
    """
    draw = second_draw(look())
    if draw is None:
        return []
    os.kill(draw.pid, signal.SIGSTOP)  # what the log says of it now stays true
    time.sleep(0.02)
    lines = look()
    if is_finished(draw, lines):
        os.kill(draw.pid, signal.SIGCONT)
        return []
    victims = [draw, next(line for line in lines if line.step == "logo")]
    for line in victims:
        os.kill(line.pid, signal.SIGKILL)
    return victims


def second_draw(lines: Sequence[Line]) -> Line | None:
    """Of the draws that began, but the first, the first that is at work; None: there is none yet.

    Raises:
        DemoError: there is none any more.
    """
    began = [line for line in lines if line.step == "draw" and line.event == "began"]
    at_work = [line for line in began[1:] if not is_finished(line, lines)]
    if len(began) == VERSIONS and not at_work:
        raise DemoError("all draws finished before one could be killed")
    return at_work[0] if at_work else None


def is_finished(call: Line, lines: Sequence[Line]) -> bool:
    """Whether that piece of work has been done."""
    return any((line.event, line.step, line.version) == ("finished", call.step, call.version) for line in lines)


def check(tallies: Sequence[Tally], before: Sequence[Line], victims: Sequence[Line]) -> None:
    """Was every step done, and nothing that had finished begun again?

    Raises:
        DemoError: says which.
    """
    found = {(each.step, each.version): each for each in tallies}
    cut = {(line.step, line.version) for line in victims}
    missing = STEPS - found.keys()
    if missing:
        raise DemoError(f"never done: {sorted(missing, key=str)}")
    wrong = [each for key, each in found.items() if each.finished != 1 or each.began != (2 if key in cut else 1)]
    if wrong:
        raise DemoError(f"done again, or not to the end: {wrong}")
    if not any(line.event == "finished" for line in before):
        raise DemoError("nothing had finished when the runners were killed, so nothing was proven")


def seconds_of(tallies: Sequence[Tally]) -> float:
    """The sum of the steps: what it would take one after the other."""
    return sum(each.seconds for each in tallies if each.step != "logo")


def print_calls(tallies: Sequence[Tally], victims: Sequence[Line]) -> None:
    """A row for each piece of work."""
    cut = {(line.step, line.version) for line in victims}
    print("  step        begun  finished  seconds")
    for each in tallies:
        name = each.step if each.version is None else f"{each.step} {each.version + 1}"
        killed = "   <- its runner was killed" if (each.step, each.version) in cut else ""
        print(f"  {name:10s} {each.began:6d} {each.finished:9d} {each.seconds:8.2f}{killed}")


def save(output: dict[str, Any], client: httpx.Client, out: Path) -> None:
    """Write the pictures, and say which was chosen."""
    out.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(output["versions"], 1):
        path = out / f"version-{number}.png"
        path.write_bytes(expect(client.get(picture["url"]), 200).content)
        chosen = f"   <- chosen by the {output['chosen_by']}" if number == output["chosen"] else ""
        print(f"  {path}   {output['scores'][number - 1]:.3f}   {output['reasons'][number - 1]}{chosen}")
    print(f"  {output['picture']['url']}")


def until(look: Callable[[], T | None], deadline: float, otherwise: str, *, every: float = 0.002) -> T:
    """What `look` finds, as soon as it finds something; it looks again after `every` seconds."""
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every)
    raise DemoError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
