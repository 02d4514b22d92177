"""The run before a release: ten thousand jobs while everything is killed, and what became of them.

    python -m tests.chaos.release --jobs 10000 --workers 8 --seed 1 --write

starts Valkey, an API and workers as processes, submits from eight clients, kills and freezes at random until all jobs have ended, reads
every job back and judges the history. `--stock` does the same to FastAPI + Celery as one writes it by hand (`stock_app.py`). `--write`
puts the table into docs/reliability.md. Exit status: 0 nothing was lost or completed twice, 1 otherwise (never with `--stock`).
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.chaos.check import story, violations
from tests.chaos.cluster import Cluster
from tests.chaos.history import History
from tests.chaos.program import until
from tests.chaos.release_harm import Harm, recoveries
from tests.chaos.release_load import Clients, Notes, listed, orders, percentile, read_back
from tests.chaos.stock import StockCluster

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
START_WITHIN = 240.0  # seconds for all workers together
CLIENTS = 8
SUBMIT_FOR = 90.0  # seconds over which the submits are spread
VALKEY_AT = (0.15, 0.45, 0.75)  # killed when this share of the jobs has ended
API_AT = (0.3, 0.6)  # killed when this share of the jobs has been accepted
STALLED = 90.0  # seconds without any end after which what is left will never end
FENCED = "outcome refused: the attempt is stale"
#: As shipped (a lease of 10 s), but for the crash budget: no job may fail because it was hit often.
SETTINGS = {"LONGRUN_LEASE": "10", "LONGRUN_HEARTBEAT": "3", "LONGRUN_GRACE": "1", "LONGRUN_MAX_CRASHES": "1000"}


class Quiet:
    """Says nothing when it stops: dozens of programs have come and gone."""

    def logs(self) -> str:
        """Nothing."""
        return ""


class ReleaseCluster(Quiet, Cluster):
    """Longrun."""


class ReleaseStock(Quiet, StockCluster):
    """Celery, each worker two processes wide."""

    width = 2


@dataclass(slots=True)
class Result:
    """All that the table needs."""

    clients: Clients
    harm: Harm
    notes: Notes
    history: History
    problems: list[str]
    seconds: float
    valkey: str
    fenced: int


def main() -> int:
    """Run, print, and write when asked to."""
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="longrun-release-") as folder:
        result = run(options, Path(folder))
    if not options.stock:  # most of what the judge asks for Celery does not keep
        print("\n".join(result.problems[:20]))
    broken = [job_id for job_id in result.history.accepted if any(job_id in problem for problem in result.problems)]
    if broken and not options.stock:
        print("\n".join(story(result.history, broken[0])))
    table = rendered(rows(options, result))
    print(table)
    if options.write:
        write("stock" if options.stock else "longrun", table)
    return 1 if result.problems and not options.stock else 0


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.release", description="Jobs while everything is killed; see the module.")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two faults on workers, on average")
    parser.add_argument("--stock", action="store_true", help="stock Celery instead of Longrun")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path) -> Result:
    """One run, from the first process to the verdict."""
    cluster = ReleaseStock(folder) if options.stock else ReleaseCluster(folder, settings=SETTINGS)
    with cluster:
        notes, begun = Notes(folder / "runs.log"), time.monotonic()
        workers = [cluster.start_worker() for _ in range(options.workers)]
        until(lambda: started(cluster) >= len(workers), f"{len(workers)} workers are up", timeout=START_WITHIN, every=0.5)
        print(f"{len(workers)} workers are up after {time.monotonic() - begun:.0f} s", flush=True)
        harm = Harm(cluster, notes, workers, random.Random(options.seed), lease=float(SETTINGS["LONGRUN_LEASE"]), pause=options.pause)
        todo = orders(options.jobs, options.seed)
        clients = Clients(cluster.url, todo, clients=CLIENTS, rate=options.jobs / SUBMIT_FOR)
        begun = time.monotonic()
        clients.start()
        torment(harm, clients, len(todo))
        history = read_back(cluster.url, clients.accepted, patience=STALLED if options.stock else START_WITHIN)
        seconds = time.monotonic() - begun
        if not options.stock:
            history.runs = [each for each, _ in notes.read().runs]
            history.listed = listed(cluster.url)
        info = cluster.redis.info("server")
        logs = (program.log.read_text(errors="replace") for program in cluster.programs)
        valkey = str(info.get("valkey_version") or info["redis_version"])
        problems = [*violations(history), *([] if options.stock else harm.fell)]
        return Result(clients, harm, notes.read(), history, problems, seconds, valkey, sum(log.count(FENCED) for log in logs))


def started(cluster: Cluster) -> int:
    """How many workers are ready."""
    cluster.check()
    word = " ready." if isinstance(cluster, StockCluster) else '"model ready"'
    logs = [program.log.read_text(errors="replace") for program in cluster.programs if program.name.startswith("worker")]
    return sum(word in log for log in logs)


def torment(harm: Harm, clients: Clients, jobs: int) -> None:
    """Do harm until every job's work was done to its end, or nothing ends any more."""
    valkey, api = [share * jobs for share in VALKEY_AT], [share * jobs for share in API_AT]
    most, changed, told, begun = 0, time.monotonic(), 0.0, time.monotonic()
    while not (clients.done and most >= len(clients.accepted)):
        harm.step()
        ended = len(harm.notes.read().ends)
        if ended > most:
            most, changed = ended, time.monotonic()
        elif time.monotonic() - changed > STALLED:
            break
        if valkey and ended >= valkey[0]:
            valkey.pop(0)
            harm.kill_valkey()
        if api and len(clients.accepted) >= api[0]:
            api.pop(0)
            harm.kill_api()
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{told - begun:4.0f} s: {len(clients.accepted)} accepted, {most} ended, {harm.done.total()} faults", flush=True)
        time.sleep(0.05)
    harm.end()


def rows(options: argparse.Namespace, result: Result) -> list[tuple[str, str]]:
    """What the table says."""
    history, harm, notes = result.history, result.harm, result.notes
    outcomes = history.outcomes.values()
    lost = [job_id for job_id in history.accepted if job_id not in history.outcomes or not history.outcomes[job_id].job["terminal"]]
    twice = [outcome for outcome in outcomes if sum(attempt["outcome"] == "succeeded" for attempt in outcome.attempts) > 1]
    begun = dict.fromkeys(history.accepted, 0)
    for each, _ in notes.runs:
        begun[each.job_id] = begun.get(each.job_id, 0) + 1
    said = [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d")),
        ("machine", f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"),
        ("versions", f"Python {platform.python_version()}, Celery {version('celery')}, Valkey {result.valkey}"),
        ("seed", str(options.seed)),
        ("jobs accepted", f"{len(history.accepted):,}, by {CLIENTS} clients, {options.workers} workers"),
        ("a worker or runner is harmed every", f"{options.pause:g} s"),
        *((f"fault: {name}", str(number)) for name, number in sorted(harm.done.items())),
        ("submits repeated", f"{result.clients.repeated}"),
        ("jobs begun more than once", str(sum(number > 1 for number in begun.values()))),
        ("jobs whose work was done to its end more than once", str(sum(number > 1 for number in notes.ends.values()))),
    ]
    if not options.stock:
        said.append(("late results refused by the fence", str(result.fenced)))
    for what, workers in (("worker", True), ("runner", False)):
        times = recoveries(notes, harm.killed, workers=workers)
        figures = " / ".join(f"{percentile(times, share):.1f} s" for share in (0.5, 0.95, 1.0))
        said.append((f"{what} killed → its jobs start again, p50 / p95 / max", f"{figures} ({len(times)} jobs)"))
    said.append(("from the first submit to the last end read back", f"{result.seconds:.0f} s"))
    if options.stock:
        return [*said, ("workers that ended by themselves", str(len(harm.fell))), ("**jobs lost**", f"**{len(lost)}**")]
    other = [problem for problem in result.problems if not any(job_id in problem for job_id in lost)]
    said += [("**jobs lost**", f"**{len(lost)}**"), ("**jobs completed twice**", f"**{len(twice)}**")]
    return [*said, ("other promises broken, of those that [the judge](../tests/chaos/check.py) knows", str(len(other)))]


def rendered(table: list[tuple[str, str]]) -> str:
    """As Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in table)])


def write(name: str, table: str, page: Path = PAGE) -> None:
    """Put the table between its markers."""
    begin, end = (f"<!-- release {name}: {mark} -->" for mark in ("begin", "end"))
    text, count = re.subn(f"{begin}\n.*?{end}", lambda _: f"{begin}\n{table}\n{end}", page.read_text(), flags=re.DOTALL)
    assert count == 1, f"{page} has no markers for {name}"
    page.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
