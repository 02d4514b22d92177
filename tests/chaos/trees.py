"""Flows over real processes: submits them, and judges what they paid (FAULTS.md, rules R12 and R13).

R12 no call for a step comes after its end was stored; all calls for it bear one key, and each was made by another attempt that it had.
R13 a step is one job, ends once in the journal of its parent, and nothing of a tree that has ended is open.
And the output is what the provider sold, in the right order: nobody got another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.caller import Caller
from tests.chaos.check import violations
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.provider import Call, Provider

APP = Path(__file__).with_name("models_that_run_models.py")
#: Seconds: times of jobs are told so, and calls are timed by another process of this machine.
_ROUNDED = 0.002


def output_of(model: str, text: str, *, width: int = 20, depth: int = 2) -> list[str]:
    """What a flow of models_that_run_models.py must return."""
    kind = model.removesuffix("_sync")
    if kind == "chain":
        return [f"paid {text}/{n}" for n in (0, 1, 2, "here", 3, 4)]
    if kind == "fan":
        return [f"paid {text}/{n}" for n in (*range(width), "join")]
    assert kind == "nest"
    if depth == 0:
        return [f"paid {text}"]
    return [*(each for n in range(2) for each in output_of(model, f"{text}/{n}", depth=depth - 1)), f"paid {text}/join"]


@dataclass
class Flows:
    """Submits flows, and keeps what they must return."""

    cluster: Cluster
    caller: Caller
    provider: Provider
    wanted: dict[str, list[str]] = field(default_factory=dict)
    repeated: int = 0  #: calls beyond the first of a step, all of them within the window in which they may be

    def submit(self, model: str, text: str, seconds: float = 0.02, **more: Any) -> str:
        """The id of a flow; `more`: further fields of its input."""
        job_id = self.start(model, text, seconds, **more)
        self.wanted[job_id] = output_of(model, text, **more)
        return job_id

    def start(self, model: str, text: str, seconds: float = 0.02, **more: Any) -> str:
        """The same for a flow of another kind, whose output the test looks at itself."""
        return self.caller.submit(model, text, seconds, input={"text": text, "seconds": seconds, **more})

    def steps(self, job_id: str) -> list[dict[str, Any]]:
        """The steps of a job, page after page."""
        found: list[dict[str, Any]] = []
        path: str | None = f"/jobs/{job_id}/tree"
        while path:
            page = self.caller.get(path)
            found += page["steps"]
            path = page["next"]
        return found

    def below(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id of the parent, step) for every step below a job, to any depth."""
        for step in self.steps(job_id):
            yield job_id, step
            if step["kind"] == "child" and step["children"]:
                yield from self.below(step["id"])

    def judge(self, *, expected: tuple[str, ...] = ("succeeded",)) -> None:
        """An AssertionError that tells every broken promise."""
        history = self.caller.collect()
        found = violations(history, expected=expected)
        for job_id, wanted in self.wanted.items():
            job = history.outcomes[job_id].job
            if job["status"] == "succeeded" and job["output"] != wanted:
                found.append(f"{job_id} has output {job['output']} instead of {wanted}")
            found += [f"{job_id}: {problem}" for problem in self._tree(job_id, job)]
        assert not found, "\n".join([f"{len(found)} broken promises", *(line[:2000] for line in found[:20])])

    def _tree(self, root: str, job: dict[str, Any]) -> Iterator[str]:
        calls: dict[str, list[Call]] = {}
        for each in self.provider.calls:
            calls.setdefault(each.job, []).append(each)
        jobs = {root: job["attempt"]}
        parents = {root}
        for parent, step in self.below(root):
            parents.add(parent)
            if step["status"] in ("queued", "running", "waiting"):
                yield f"step {step['key']} of {parent} is {step['status']} after the end"
            if step["kind"] == "child":
                jobs[step["id"]] = step["attempt"] or 0
                yield from self._paid(step, calls.get(step["id"], []))
        for parent in parents:
            ends = [each.decode() for each in self.cluster.redis.lrange(f"{PREFIX}ends:{parent}", 0, -1)]
            if len(ends) != len(set(ends)):
                yield f"the steps of {parent} ended as {sorted(ends)}"
        # By what was bought: one job and one key each, whichever attempt of whomever asked.
        for name in {each.step for job_id in jobs for each in calls.get(job_id, [])}:
            bought = self.provider.for_(name)
            if len({(each.job, each.key) for each in bought}) != 1:
                yield f"{name} was bought as {bought}"
            if len({each.attempt for each in bought}) != len(bought) or bought[-1].attempt > jobs[bought[0].job]:
                yield f"{name} was bought by attempts {[each.attempt for each in bought]} of {jobs[bought[0].job]}"
            self.repeated += len(bought) - 1
        for each in calls.get(root, []):
            if each.step.endswith("/here"):
                yield from self._journaled(root, each)

    def _paid(self, step: dict[str, Any], calls: list[Call]) -> Iterator[str]:
        if step["finished_at"] is None or step["status"] != "succeeded":
            return
        end = datetime.fromisoformat(step["finished_at"]).timestamp()
        late = [call for call in calls if call.at > end + _ROUNDED]
        if late:
            yield f"step {step['key']} ended at {end:.3f}, and was paid again: {late}"

    def _journaled(self, root: str, call: Call) -> Iterator[str]:
        """A step that ran in its parent."""
        entry = self.cluster.redis.hget(f"{PREFIX}steps:{root}", "l:here")
        if entry is None:
            yield f"{call} was paid and is not in the journal"
        elif call.at > int(entry.split()[2]) / 1000 + _ROUNDED:
            yield f"{call} was paid after its result was in the journal: {entry!r}"
