"""What the design asks for: the rows of its table of figures (DESIGN, section 12), each with a floor and an aim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """One demand.

    Args:
        what: in the words of the design.
        floor: what is asked for at least.
        aim: what is hoped for.
        on: whether these are about the ratio Longrun / peer or about Longrun's own value.
        better: whether higher or lower values are better.
        row: the benchmark that measures it.
    """

    row: str
    what: str
    floor: float
    aim: float
    on: Literal["ratio", "longrun"] = "ratio"
    better: Literal["higher", "lower"] = "higher"

    def verdict(self, value: float) -> str:
        """How a measured value stands to floor and aim."""
        sign = 1 if self.better == "higher" else -1
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "floor reached" if sign * value >= sign * self.floor else "MISSED"


TARGETS: dict[str, Target] = {
    "submits": Target("submits", "accepted HTTP submits per API process, against FastAPI + Celery `delay()` written by hand", 6, 10),
    "submits ceiling": Target("submits", "… against a FastAPI endpoint that validates the same body and returns a constant", 0.40, 0.60),
    "drain": Target("drain", "no-op jobs per worker, against stock Celery (best pool)", 8, 15),
    "queues": Target("queues", "… against the best of Taskiq, Dramatiq, arq, RQ, Huey with results stored", 2, 4),
    "p50": Target("latency", "submit to done, idle system, p50 [ms]", 6, 3, "longrun", "lower"),
    "p99": Target("latency", "submit to done, idle system, p99 [ms]", 25, 10, "longrun", "lower"),
    "minilm": Target("minilm", "MiniLM, one HTTP request per sentence, against the model called offline in best batches", 0.70, 0.85),
    "batches": Target("minilm", "… through `/batches`", 0.90, 0.97),
    "submit at depth": Target("depth", "cost of a submit at the greatest depth against an empty queue", 1.3, 1.05, "ratio", "lower"),
    "claim at depth": Target("depth", "cost of a claim at the greatest depth against an empty queue", 1.3, 1.05, "ratio", "lower"),
    "bytes": Target("depth", "store per queued job [KB]", 2.5, 1.6, "longrun", "lower"),
    "alone": Target("recovery", "worker killed, its job runs again: another worker finds it [s]", 15, 11, "longrun", "lower"),
    "supervised": Target("recovery", "worker killed, its job runs again: its supervisor is alive [s]", 5, 2, "longrun", "lower"),
    "sse p99": Target("sse", "1,000 SSE readers, 5 events/s each: p99 delay [ms]", 250, 80, "longrun", "lower"),
    "sse memory": Target("sse", "1,000 SSE readers: memory per reader [KB]", 100, 50, "longrun", "lower"),
    "steps": Target("steps", "steps a second of one worker", 1000, 2500, "longrun"),
    "step cost": Target("steps", "store: a step that a flow runs, against a plain job from submit to end", 3, 2, "ratio", "lower"),
    "logo": Target("steps", "logo flow of 2, 4 x 6 and 3 s (29 s of steps) [s]", 11.5, 11.1, "longrun", "lower"),
}
