"""Suspects of one crash run in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from longrun.worker.blame import groups_of


def fresh(job_ids: Iterable[str]) -> dict[str, str]:
    """Groups of jobs that nobody has suspected before."""
    return groups_of(dict.fromkeys(job_ids, ""))


def test_the_suspects_of_a_crash_are_divided_evenly_into_four() -> None:
    groups = fresh(f"job_{n}" for n in range(100))
    assert sorted(Counter(groups.values()).values()) == [25] * 4


def test_two_suspects_are_apart() -> None:
    assert len(set(fresh(["a", "b"]).values())) == 2


def test_groups_of_two_crashes_are_never_the_same() -> None:
    assert set(fresh(["a"]).values()).isdisjoint(fresh(["a"]).values())


def test_a_culprit_among_many_is_alone_after_a_few_crashes_and_no_innocent_runs_more_often() -> None:
    aboard, culprit, runs = [f"job_{n}" for n in range(100)], "job_73", Counter[str]()
    while len(aboard) > 1:
        runs.update(aboard)
        groups = fresh(aboard)
        aboard = [job_id for job_id in aboard if groups[job_id] == groups[culprit]]
    assert runs[culprit] == 4
    assert sum(runs.values()) < 140
