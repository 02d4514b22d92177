"""The release run counts right, and the page about reliability names what exists. Quick: nothing is killed here."""

from __future__ import annotations

import re
from pathlib import Path

from tests.chaos.history import Run
from tests.chaos.release import PAGE, rendered, write
from tests.chaos.release_harm import Killed, recoveries
from tests.chaos.release_load import Notes, orders, percentile

HERE = Path(__file__).parent


def test_a_seed_always_names_the_same_jobs_of_every_kind() -> None:
    assert orders(1000, 7) == orders(1000, 7)
    assert orders(1000, 7) != orders(1000, 8)
    assert {order.model for order in orders(1000, 7)} == {"nap", "grind", "spell", "weigh"}


def test_recovery_counts_from_the_kill_to_the_next_start_of_the_same_job() -> None:
    starts = [("a", 1, 10, 0.0), ("b", 1, 10, 0.0), ("b", 2, 20, 1.0), ("a", 2, 20, 7.0), ("a", 3, 30, 8.0), ("c", 1, 20, 3.0)]
    notes = Notes(Path("none"), [(Run(job_id, attempt, pid), at) for job_id, attempt, pid, at in starts])
    killed = [Killed(2.0, {10, 11}, worker=True), Killed(7.5, {20}, worker=False)]
    assert recoveries(notes, killed, workers=True) == [5.0]  # b had left the process before it was killed, c was never there
    assert recoveries(notes, killed, workers=False) == [0.5]


def test_notes_are_read_once_each_and_only_when_their_line_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "runs.log"
    notes = Notes(log).read()
    log.write_text("begin a 1 10\nend a 1 10\nbegin b ")
    assert [run for run, _ in notes.read().runs] == [Run("a", 1, 10)]
    with log.open("a") as more:
        more.write("1 11\n")
    assert [run for run, _ in notes.read().runs] == [Run("a", 1, 10), Run("b", 1, 11)]
    assert (notes.ends, notes.pids) == ({"a": 1}, {10, 11})


def test_percentiles_of_few_and_of_no_values() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert percentile([], 0.5) == 0.0


def test_a_table_is_written_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    for table in (rendered([("x", "1")]), rendered([("x", r"\2")])):
        write("stock", table, page)
        assert page.read_text().count(table) == 1
    before, after = (re.sub(r"(stock: begin -->\n).*?(<!--)", r"\1\2", path.read_text(), flags=re.DOTALL) for path in (PAGE, page))
    assert before == after


def test_every_test_that_the_page_names_exists() -> None:
    sources = "".join(path.read_text() for path in HERE.parent.rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in sources] == []
