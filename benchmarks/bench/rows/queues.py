"""No-op jobs a second by one worker that finds its queue full, beside other task queues; and what each one's own client enqueues."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from bench.dialects import TEXT
from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, alternate, say
from bench.queue_peers import PEERS, QueuePeer, drain
from bench.rows import drain_longrun
from bench.stage import Stage

OURS = "Longrun"
WHAT = "no-op jobs per worker"
NOTE = (
    "Results stored, the same server and settings for all, over its unix socket. Peers: from the first stored result that is seen to "
    "the last; each one's jobs are as many as it does in the same time. Longrun: acknowledged when done, a dead worker's jobs run again"
    " after 10 s."
)
ENQUEUE_NOTE = (
    "By each one's own client in one process, nothing else running: asynchronous clients (Longrun, Taskiq, arq) with 64 calls at once, "
    "the others with one after the other. Longrun also validates the input."
)


@dataclass(slots=True)
class Contest:
    """What was found out about one peer."""

    peer: QueuePeer
    way: str = ""
    count: int = 0
    tried: dict[str, str] = field(default_factory=dict)
    enqueued: list[float] = field(default_factory=list)

    def try_ways(self, window: float) -> None:
        """Find its fastest way. Raises CheckError when none works."""
        rates: dict[str, float] = {}
        for way in self.peer.ways:
            try:
                rates[way] = drain(self.peer, way, self.peer.first)[0]
                self.tried[way] = f"{rates[way]:.0f}/s"
            except CheckError as error:
                self.tried[way] = f"failed ({error})"[:200]
            say(f"  {self.peer.name}, {way}: {self.tried[way]}")
        if not rates:
            raise CheckError("; ".join(self.tried.values()))
        self.way = max(rates, key=lambda way: rates[way])
        self.count = max(100, int(rates[self.way] * window))

    def round(self) -> float:
        """Jobs a second."""
        rate, enqueued = drain(self.peer, self.way, self.count)
        self.enqueued.append(enqueued)
        return rate


def measure(plan: Plan) -> list[Figure]:
    """Longrun against each, and against the best of them."""
    contests = {name: Contest(peer) for name, peer in PEERS.items()}
    troubles: dict[str, str] = {}
    for name, contest in contests.items():
        try:
            contest.try_ways(plan.queue_window)
        except CheckError as error:
            troubles[name] = str(error)
    ours: list[float] = []

    def longrun() -> float:
        ours.append(_enqueue(plan.enqueued))
        return drain_longrun.rate(plan.longrun_jobs)

    values = alternate(plan.rounds, {OURS: longrun} | {name: contest.round for name, contest in contests.items()}, troubles)
    best = max((name for name in contests if values[name]), key=lambda name: median(values[name]), default="")
    figures = [
        Figure(
            "queues",
            WHAT,
            "1/s",
            f"best of them: {best}",
            values[OURS],
            values.get(best, []),
            target="queues",
            missing="" if best else "; ".join(f"{name}: {why}" for name, why in troubles.items()),
            note=NOTE,
        )
    ]
    figures += [_against(contest, values[OURS], values[name], troubles.get(name, "")) for name, contest in contests.items()]
    return figures + [
        Figure("queues", "enqueued by the own client", "1/s", name, ours, contest.enqueued, note=ENQUEUE_NOTE)
        for name, contest in contests.items()
        if name not in troubles
    ]


def _against(contest: Contest, ours: list[float], theirs: list[float], missing: str) -> Figure:
    peer = contest.peer
    tried = ", ".join(f"{way} {rate}" for way, rate in contest.tried.items())
    note = f"{peer.name}: {peer.promise}. Tried first: {tried or 'nothing'}."
    return Figure("queues", WHAT, "1/s", f"{peer.name}, {contest.way}".rstrip(", "), ours, theirs, missing=missing, note=note)


def _enqueue(count: int) -> float:
    with Stage() as stage:
        return float(stage.result("enqueue", ["bench.enqueue", str(count), TEXT], {"LONGRUN_REDIS_URL": stage.valkey()}))
