"""The suite can fail: without a guard it turns red, with it it is green; and where Longrun is green, stock Celery is red."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.mutants import NO_COMPARE, NO_FENCE, NO_SWEEP, STORE_MUTANTS, STORE_TESTS, Mutant, build
from tests.chaos.mutants_of_claims import CLAIM_MUTANTS
from tests.chaos.mutants_of_files import FILE_MUTANTS
from tests.chaos.mutants_of_identity import IDENTITY_MUTANTS
from tests.chaos.mutants_of_steps import STEP_MUTANTS
from tests.chaos.mutants_of_trees import TREE_MUTANTS
from tests.chaos.mutants_of_versions import VERSION_MUTANTS
from tests.chaos.scenarios import (
    Scenario,
    a_worker_is_killed,
    a_zombie_offers_its_result,
    consumers_die_with_what_they_popped,
    every_ticket_is_there_three_times,
    judged,
)
from tests.chaos.stock import StockCluster

pytestmark = [pytest.mark.chaos, pytest.mark.gate]

ROOT = Path(__file__).parents[2]
#: What each guard is there for, and what the judge says without it.
SCENARIOS: list[tuple[Mutant, Scenario, str]] = [
    (NO_SWEEP, a_worker_is_killed, "has not ended, it is running"),
    (NO_FENCE, a_zombie_offers_its_result, "instead of"),
    (NO_COMPARE, every_ticket_is_there_three_times, "succeeded at attempt"),
]
#: What a test shows, and no scenario.
OF_TESTS = [*STORE_MUTANTS, *CLAIM_MUTANTS, *FILE_MUTANTS, *IDENTITY_MUTANTS, *STEP_MUTANTS, *TREE_MUTANTS, *VERSION_MUTANTS]
ENOUGH = 90.0  # seconds in which everything ends that ever will, also on a slow machine
LONG = 12.0  # seconds in which what is lost would have been found: six leases
#: Loaded by the pytest of a mutant: refuses to test another build than the one it was given.
PLUGIN = """\
import longrun, os, pathlib
def pytest_configure(config):
    assert pathlib.Path(longrun.__file__).is_relative_to(os.environ["MUTANT"]), longrun.__file__
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with all guards."""
    return build(None, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[StockCluster]:
    """Celery as it is used without Longrun, behind the same HTTP surface."""
    with StockCluster(tmp_path) as stock:
        yield stock


def judge(scenario: Scenario, package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, within: float) -> list[str]:
    """What the judge says of a scenario whose programs run the build in `package`."""
    monkeypatch.setenv("PYTHONPATH", str(package))
    folder.mkdir()
    with Cluster(folder) as cluster, Caller(cluster) as caller:
        where = [sys.executable, "-c", "import longrun; print(longrun.__file__)"]
        assert subprocess.check_output(where, cwd=folder, text=True).startswith(str(package))
        scenario(cluster, caller)
        return judged(caller, within=within)


@pytest.mark.parametrize(("mutant", "scenario", "words"), SCENARIOS, ids=[mutant.guard for mutant, _, _ in SCENARIOS])
def test_without_its_guard_a_scenario_is_red(
    mutant: Mutant, scenario: Scenario, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = judge(scenario, build(mutant, tmp_path / "build"), tmp_path / "run", monkeypatch, within=LONG)
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("scenario", [scenario for _, scenario, _ in SCENARIOS], ids=lambda scenario: scenario.__name__)
def test_with_all_guards_a_scenario_is_green(scenario: Scenario, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(scenario, whole, tmp_path / "run", monkeypatch, within=ENOUGH) == []


def store_tests(package: Path, names: set[str], folder: Path) -> tuple[int, list[str], list[str]]:
    """Run tests of the store on a build: exit status, tests that passed, messages of those that failed.

    An error that is not a failed assertion fails the caller: it would prove nothing.
    """
    (package / "only_this_build.py").write_text(PLUGIN)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "only_this_build", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *(name if "::" in name else f"{STORE_TESTS}::{name}" for name in sorted(names))],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(package), "MUTANT": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), said
    cases = list(ET.parse(report).iter("testcase"))
    assert len(cases) == len(names), said
    failures = [failure.get("message", "") for case in cases for failure in case.findall("failure")]
    assert not [error for case in cases for error in case.findall("error")], said
    assert all(message.startswith(("AssertionError", "assert ")) for message in failures), said
    return done.returncode, [case.get("name", "") for case in cases if not len(case)], failures


@pytest.mark.parametrize("mutant", OF_TESTS, ids=lambda mutant: mutant.guard)
def test_without_its_guard_a_test_of_the_store_is_red(mutant: Mutant, tmp_path: Path) -> None:
    status, passed, failures = store_tests(build(mutant, tmp_path / "build"), {mutant.test}, tmp_path)
    assert (status, passed, len(failures)) == (1, [], 1)


def test_with_all_guards_the_same_tests_of_the_store_are_green(whole: Path, tmp_path: Path) -> None:
    names = {mutant.test for mutant in OF_TESTS}
    assert store_tests(whole, names, tmp_path)[0] == 0


def test_a_guard_whose_text_has_changed_is_not_mutated_silently(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="0 times, not once"):
        build(Mutant("?", "store/scripts/lib_ends.lua", "what nobody wrote", ""), tmp_path / "build")


def test_jobs_that_dead_consumers_had_popped_are_lost_by_stock_celery(stock: StockCluster) -> None:
    with Caller(stock, readers=False) as caller:
        consumers_die_with_what_they_popped(stock, caller)
        problems = judged(caller, within=LONG / 2)
    lost = [problem for problem in problems if "has not ended, it is queued" in problem]
    assert lost, problems
    assert len(lost) < len(caller.history.accepted), "the others must have run, or nothing was compared"
    print(f"stock Celery lost {len(lost)} of {len(caller.history.accepted)} jobs")


def test_jobs_that_dead_consumers_had_popped_are_not_lost_by_longrun(cluster: Cluster, caller: Caller) -> None:
    consumers_die_with_what_they_popped(cluster, caller)
    assert judged(caller, within=ENOUGH) == []
    assert len(caller.history.accepted) == 21
