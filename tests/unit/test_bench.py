"""The tables of the benchmarks: what is said of a figure must be true of its numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
try:
    from bench.errors import CheckError
    from bench.figures import Figure
    from bench.outcome import Outcome
    from bench.plan import QUICK, Plan, alternate
    from bench.queue_peers import watch
    from bench.report import summary, table
    from bench.rows import ROWS
    from bench.targets import TARGETS
finally:
    sys.path.remove(BENCHMARKS)


def figure(ours: list[float], theirs: list[float], target: str, **more: str) -> Figure:
    return Figure(TARGETS[target].row, "what", "1/s", "peer", ours, theirs, target=target, **more)  # type: ignore[arg-type]


def verdict(found: Figure) -> str:
    return next(row[-1] for row in summary([found], {}) if row[1] == TARGETS[found.target].what)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([5.9] * 3, "MISSED"), ([6.0] * 3, "floor reached"), ([10.0] * 3, "aim reached"), ([1.0, 7.0, 90.0], "floor reached")],
)
def test_the_median_of_the_ratios_is_held_against_floor_and_aim(ours: list[float], expected: str) -> None:
    assert verdict(figure([10 * value for value in ours], [10.0] * 3, "submits")) == expected


@pytest.mark.parametrize(("ours", "expected"), [(26.0, "MISSED"), (25.0, "floor reached"), (10.0, "aim reached")])
def test_where_less_is_better_the_value_must_stay_below(ours: float, expected: str) -> None:
    assert verdict(figure([ours], [1.0], "p99")) == expected


def test_a_demand_that_was_not_measured_is_shown_with_the_reason() -> None:
    missing = figure([1.0], [], "queues", missing="arq was not installed: no network")
    rows = {row[1]: row[-1] for row in summary([missing], {"depth": "it broke"})}
    assert rows[TARGETS["queues"].what] == "not measured: arq was not installed: no network"
    assert rows[TARGETS["bytes"].what] == "FAILED, see below"
    assert rows[TARGETS["p50"].what] == "not measured"
    assert len(rows) == len(TARGETS)


def test_a_peer_that_is_missing_stands_in_the_table_with_the_reason() -> None:
    (row,) = table([figure([100.0], [], "queues", missing="arq was not installed:\n  no network")])
    assert row[4] == "arq was not installed: no network"
    assert row[5] == "-"
    assert row[6] == "2x: not measured"


def test_every_demand_of_the_design_has_a_row_that_measures_it() -> None:
    assert {target.row for target in TARGETS.values()} <= set(ROWS)


def test_sides_are_measured_in_turned_order_and_a_peer_that_fails_is_left_out() -> None:
    asked: list[str] = []

    def side(name: str, fails: bool = False) -> float:
        asked.append(name)
        if fails:
            raise CheckError("broken")
        return 1.0

    troubles: dict[str, str] = {}
    sides = {"Longrun": lambda: side("Longrun"), "good": lambda: side("good"), "bad": lambda: side("bad", True)}
    assert alternate(2, sides, troubles) == {"Longrun": [1.0, 1.0], "good": [1.0, 1.0], "bad": []}
    assert asked == ["Longrun", "good", "bad", "good", "Longrun"]
    assert troubles == {"bad": "broken"}


def test_longrun_itself_may_not_fail() -> None:
    def fails() -> float:
        raise CheckError("broken")

    with pytest.raises(CheckError):
        alternate(1, {"Longrun": fails}, {})


def test_a_quick_run_says_that_it_is_not_to_be_quoted() -> None:
    machine = {
        "date": "",
        "cores": 2,
        "cpu": "",
        "memory_gib": 1,
        "system": "",
        "load_before": 0,
        "python": "",
        "versions": {},
        "peers": {},
    }
    assert "not to quote" in "\n".join(Outcome(QUICK, machine)._parts(""))
    assert "not to quote" not in "\n".join(Outcome(Plan(), machine)._parts(""))


class Worker:
    name = "worker"

    def check(self) -> None:
        pass

    def tail(self) -> str:
        return "its last words"


def test_the_drain_of_a_peer_is_timed_from_the_first_result_that_is_seen() -> None:
    counts = iter([0, 0, 3, 3, 7, 10])
    begun, first, ended = watch(Worker(), lambda: next(counts), 10)  # type: ignore[arg-type]
    assert first == 3
    assert 0.02 < ended - begun < 60


def test_a_worker_that_comes_no_further_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[watch.__module__], "STALLED", 0.05)
    with pytest.raises(CheckError, match=r"4 of 10 jobs.*\n?its last words"):
        watch(Worker(), lambda: 4, 10)  # type: ignore[arg-type]


def test_the_command_lists_every_row() -> None:
    done = subprocess.run([sys.executable, f"{BENCHMARKS}/run.py", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ROWS)
