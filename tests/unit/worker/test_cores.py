"""A runner's share of the cores: how many there are, who decides about threads, and what `longrun doctor` says of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from longrun.models import Model, ModelSpec, isolated_registry, model
from longrun.settings import Settings
from longrun.worker.supervise import cores as cores_module
from longrun.worker.supervise import memory
from longrun.worker.supervise.cores import Cores, choose_threads, cpu_quota, find_cores
from longrun.worker.supervise.layout import examine_threads, lay_out

EIGHT = Cores(8, 8)
ALL = {
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "LOKY_MAX_CPU_COUNT",
}


def computes(name: str, **options: Any) -> ModelSpec:
    """A class, which has runners of its own."""
    with isolated_registry():

        class Computes(Model, name=name, **options):
            def predict(self) -> None: ...

        return Computes.__longrun__  # type: ignore[attr-defined, no-any-return]


def waits(name: str, **options: Any) -> ModelSpec:
    """An async function, which shares a runner with the others of its module."""
    with isolated_registry():

        @model(name=name, **options)
        async def waits() -> None: ...

        return waits.__longrun__  # type: ignore[attr-defined, no-any-return]


# -- the decision ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("runners", "share"), [(2, 4), (3, 2), (4, 2), (8, 1), (20, 1)])
def test_the_runners_of_a_model_share_the_cores(runners: int, share: int) -> None:
    threads = choose_threads(None, runners, EIGHT, {})
    assert (threads.count, threads.env) == (share, dict.fromkeys(ALL, str(share)))


def test_a_model_with_one_runner_gets_all_cores_and_its_libraries_count_them_as_ever() -> None:
    assert choose_threads(None, 1, EIGHT, {}) == cores_module.Threads(8)


def test_in_a_container_with_a_quota_libraries_would_count_the_cores_of_the_host() -> None:
    assert choose_threads(None, 1, Cores(2, 64), {}).env == dict.fromkeys(ALL, "2")
    assert choose_threads(None, 2, Cores(2, 64), {}).env == dict.fromkeys(ALL, "1")


def test_what_the_operator_has_set_for_a_library_goes_before_a_share() -> None:
    threads = choose_threads(None, 4, EIGHT, {"POLARS_MAX_THREADS": "7", "MKL_NUM_THREADS": "3", "RAYON_NUM_THREADS": ""})
    assert (threads.count, threads.env) == (2, dict.fromkeys(ALL - {"POLARS_MAX_THREADS", "MKL_NUM_THREADS"}, "2"))


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("3,2", 3), ("many", 2), ("0", 2)])
def test_omp_num_threads_of_the_operator_counts_for_the_libraries_that_read_it_too(text: str, count: int) -> None:
    threads = choose_threads(None, 4, EIGHT, {"OMP_NUM_THREADS": text})
    follow = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"}
    assert (threads.count, threads.env) == (count, dict.fromkeys(ALL - follow, "2"))


def test_what_was_asked_for_goes_before_everything() -> None:
    threads = choose_threads(8, 1, EIGHT, {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"})
    assert (threads.count, threads.env) == (8, dict.fromkeys(ALL, "8"))


def test_numexpr_gets_no_more_threads_than_it_accepts() -> None:
    assert choose_threads(None, 2, Cores(256, 256), {}).env["NUMEXPR_NUM_THREADS"] == "64"
    assert choose_threads(None, 2, EIGHT, {"NUMEXPR_MAX_THREADS": "3"}).env["NUMEXPR_NUM_THREADS"] == "3"
    assert choose_threads(100, 1, EIGHT, {"NUMEXPR_MAX_THREADS": "128"}).env["NUMEXPR_NUM_THREADS"] == "100"


# -- how many cores there are ----------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, whose files of cgroups the test writes."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def write(machine: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)


def version_2(quota: str, above: str = "max 100000") -> dict[str, str]:
    return {"proc/self/cgroup": "0::/pod/box\n", "cgroup/pod/box/cpu.max": f"{quota}\n", "cgroup/pod/cpu.max": f"{above}\n"}


def version_1(quota: int, folder: str = "cgroup/cpu/docker/box") -> dict[str, str]:
    files = {"proc/self/cgroup": "4:memory:/docker/box\n3:cpu,cpuacct:/docker/box\n"}
    return files | {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("files", "quota", "usable"),
    [
        ({}, None, 8),
        (version_2("max 100000"), None, 8),
        (version_2("200000 100000"), 2, 2),
        (version_2("max 100000", above="300000 100000"), 3, 3),
        (version_2("400000 100000", above="300000 100000"), 3, 3),
        (version_2("150000 100000"), 1.5, 2),
        (version_2("140000 100000"), 1.4, 1),
        (version_2("20000 100000"), 0.2, 1),
        (version_2("6400000 100000"), 64, 8),
        (version_1(-1), None, 8),
        (version_1(250_000), 2.5, 3),
        (version_1(200_000, "cgroup/cpu"), 2, 2),  # inside a container: the root is ours, whatever the path says
    ],
)
def test_the_quota_of_a_container_limits_the_cores(machine: Path, files: dict[str, str], quota: float | None, usable: int) -> None:
    write(machine, files)
    assert cpu_quota() == quota
    assert find_cores() == Cores(usable, 8)


def test_cores_that_this_process_may_not_run_on_do_not_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert find_cores() == Cores(2, 2)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert find_cores() == Cores(6, 6)


# -- the runners of a worker -----------------------------------------------------------------------------------------------


def threads_of(*specs: ModelSpec, visible: list[str] | None = None, **settings: Any) -> list[list[int | None]]:
    return [[place.threads for place in each.places] for each in lay_out(specs, Settings(**settings), visible or [], EIGHT, {})]


def test_other_models_take_nothing_away() -> None:
    assert threads_of(*(computes(f"idle-{n}") for n in range(10))) == [[8]] * 10
    assert threads_of(computes("one"), computes("four", processes=4)) == [[8], [2] * 4]


def test_the_operator_decides_before_the_author() -> None:
    assert threads_of(computes("a", processes=2, threads=3)) == [[3, 3]]
    assert threads_of(computes("a", processes=2, threads=3), threads=5) == [[5, 5]]
    assert threads_of(computes("a", threads=3), computes("b"), processes=4) == [[3] * 4, [2] * 4]


def test_functions_that_share_a_runner_get_what_one_of_them_asks_for() -> None:
    assert threads_of(waits("a"), waits("b", threads=2), waits("c", threads=3)) == [[3]]


def test_runners_on_gpus_share_the_cores_too() -> None:
    gpu = computes("a", gpus=1, processes=2)
    assert threads_of(gpu, visible=["0", "1"]) == [[2] * 4]
    (runners,) = lay_out([gpu], Settings(), ["0", "1"], EIGHT, {})
    assert {place.env["CUDA_VISIBLE_DEVICES"] for place in runners.places} == {"0", "1"}
    assert {place.env["OMP_NUM_THREADS"] for place in runners.places} == {"2"}


# -- what the doctor says --------------------------------------------------------------------------------------------------


def examined(*specs: ModelSpec, env: dict[str, str] | None = None, cores: Cores = EIGHT, **settings: Any) -> tuple[str, str, str]:
    chosen = Settings(**settings)
    finding = examine_threads(lay_out(specs, chosen, [], cores, env or {}), chosen, cores)
    assert finding.name == "threads"
    return finding.severity, finding.found, finding.mend


def test_shares_of_the_cores_are_in_order() -> None:
    assert examined(computes("a", processes=4)) == ("ok", "cores: 8, threads: 8", "")
    assert examined(computes("a"), cores=Cores(2, 8)) == ("ok", "cores: 2 of 8 (CPU quota), threads: 2", "")
    assert examined(waits("a", concurrency=100)) == ("ok", "cores: 8, threads: 8", "")
    assert examined(computes("a", concurrency=20, threads=1)) == ("ok", "cores: 8, threads: 1", "")


@pytest.mark.parametrize(
    ("options", "settings", "env", "found", "mend"),
    [
        ({"processes": 4, "threads": 8}, {}, {}, "a asks for 32 threads (4 runners x 8 threads)", "`threads=2` on a, or LONGRUN_THREADS=2"),
        ({"processes": 3}, {"threads": 8}, {}, "a asks for 24 threads (3 runners x 8 threads)", "LONGRUN_THREADS=2"),
        ({}, {"threads": 16}, {}, "a asks for 16 threads (16 threads)", "LONGRUN_THREADS=8"),
        ({"processes": 2}, {}, {"OMP_NUM_THREADS": "8"}, "a asks for 16 threads (2 runners x 8 threads)", "`threads=4` on a"),
        ({"concurrency": 4}, {}, {}, "a asks for 32 threads (4 jobs at once x 8 threads)", "`threads=2` on a"),
        ({}, {"concurrency": 50}, {}, "a asks for 400 threads (50 jobs at once x 8 threads)", "`threads=1` on a"),
        ({"processes": 9}, {}, {}, "a asks for 9 threads (9 runners)", "fewer than 9 runners (`processes` on a, or LONGRUN_PROCESSES)"),
    ],
)
def test_a_model_that_asks_for_the_cores_more_than_once_is_warned_of(
    options: dict[str, Any], settings: dict[str, Any], env: dict[str, str], found: str, mend: str
) -> None:
    severity, seen, line = examined(computes("a", **options), env=env, **settings)
    assert (severity, seen) == ("warn", f"cores: 8; {found}")
    assert line.startswith(mend)


def test_several_models_at_once_are_only_told_of() -> None:
    severity, found, mend = examined(*(computes(f"m{n}") for n in range(3)))
    assert (severity, mend) == ("ok", "")
    assert found.endswith("all at work at once ask for 24; if they often are, set LONGRUN_THREADS=2")
