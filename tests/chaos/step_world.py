"""A world of workers whose scripts run in an order of chance, on a real Valkey, with deaths between them; and what must hold of it.

Nothing here waits: the verbs of the store are run as they are, over a connection that answers at once. Now and then a script is sent twice.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

import orjson
from redis import Redis
from tests.chaos.step_programs import Spec, random_spec
from tests.chaos.step_worker import Died, Worker

from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.claims import Claims
from longrun.store.records import NewJob, Records
from longrun.store.scripts import load_scripts
from longrun.store.steps import Steps
from longrun.store.trees import Trees
from longrun.store.upkeep import Upkeep

ENDED = {"succeeded", "failed", "canceled", "expired"}
LEAVES, FLOWS = "gpu.leaf", "gpu.flow"
POLICY = Policy(max_crashes=50, max_attempts=9)
#: How often things happen, by move.
REAP, DUE, REPUBLISH, KILL, SIGNAL, PLAIN, RETRY, TWICE = 0.02, 0.02, 0.02, 0.02, 0.006, 0.02, 0.3, 0.05
#: Moves after which a world that has not ended never will.
MOST = 20_000


class _Now:
    """An answer that is there already."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[None, None, Any]:
        return self.value
        yield


class Now:
    """Stands for `Connection`: runs a script at once."""

    def __init__(self, url: str, prefix: str, rng: random.Random) -> None:
        self.redis, self.prefix, self.rng, self.sent = Redis.from_url(url), prefix, rng, 0
        self.scripts = load_scripts(prefix, ticket_template())
        for script in self.scripts.values():
            self.redis.script_load(script.source)
        self.made = 0

    def send(self, name: str, *args: Any) -> Any:
        self.sent += 1
        reply = self.redis.evalsha(self.scripts[name].sha, 0, *args)
        # `pop` is sent by the transport, and never twice.
        if name != "pop" and self.rng.random() < TWICE:
            reply = self.redis.evalsha(self.scripts[name].sha, 0, *args)
        return reply

    async def run(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        return self.send(name, *args)

    def start(self, name: str, *args: Any, timeout: float | None = None) -> Awaitable[Any]:
        return _Now(self.send(name, *args))

    async def command(self, *args: Any, timeout: float | None = None) -> Any:
        return self.redis.execute_command(*args)


def at_once(verb: Coroutine[Any, Any, Any]) -> Any:
    """What a verb of the store returns, over `Now`."""
    try:
        verb.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


class World:
    """See the module.

    Args:
        kills: how many workers die; half of those go on as zombies.
        told: pub/sub loses nothing, and heartbeats find nothing; else pub/sub loses some, and heartbeats find that out.
    """

    def __init__(self, url: str, prefix: str, seed: int, *, kills: int = 20, told: bool = False, let_go: bool = True) -> None:
        self.rng = random.Random(seed)
        self.now = Now(url, prefix, self.rng)
        settings = Settings(prefix=prefix, redis_url=url, max_queued=100_000)
        connection: Any = self.now
        self.claims, self.steps = Claims(connection, settings), Steps(connection, settings)
        self.records, self.upkeep, self.trees = Records(connection, settings), Upkeep(connection, settings), Trees(connection)
        self.redis, self.prefix, self.settings = self.now.redis, prefix, settings
        self.redis.set(f"{prefix}swept", 10**15)  # only `lost` takes claims: leases do not run out here
        self.kills, self.told, self.lets_go = kills, told, let_go
        self.cancels = self.rng.random() < 0.3
        self.slots = 1 + seed % 2
        self.accepted: dict[str, str] = {}  # job -> fence of the end that was accepted
        self.paid: dict[str, int] = {}  # idempotency key of a leaf -> how often its success was accepted
        self.begun: dict[tuple[str, str], int] = {}  # (job, begun-mark) -> how often its call was made
        self.delivered: dict[tuple[str, int, str], Any] = {}  # (job, epoch, step) -> what its parent was given
        self.answered: dict[tuple[str, int], bytes] = {}  # (job, epoch) -> value of a signal that the store has taken
        self.order: dict[str, int] = {}  # root or plain job -> its number in the order of acceptance
        self.plain: set[str] = set()  # plain jobs that were never popped
        self.again: set[str] = set()  # those that were popped, and are pushed to the front
        self.dead: set[str] = set()
        self.workers: list[Worker] = []
        self.zombies: list[Worker] = []
        self._made = 0
        for _ in range(1 + seed % 3):
            self._spawn()
        self.roots = [self._submit("flow", random_spec(self.rng)) for _ in range(3)]
        self.retried: set[str] = set()

    def close(self) -> None:
        """Forget all of it."""
        for worker in (*self.workers, *self.zombies):
            worker.close()
        if keys := list(self.redis.scan_iter(f"{self.prefix}*", count=1000)):
            self.redis.delete(*keys)
        self.redis.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._made += 1
        self.workers.append(Worker(self, f"w{self._made}"))

    def _submit(self, model: str, spec: Spec) -> str:
        self._made += 1
        job_id = f"job_{self._made:012x}{self.rng.getrandbits(80):020x}"
        accepted = at_once(self.records.submit(NewJob(job_id, "t", model, "gpu", 5, orjson.dumps(spec), POLICY.to_json())))
        assert accepted.outcome == "new"
        self.order[job_id] = len(self.order)
        return job_id

    def run(self) -> None:
        """Let everything happen until all has ended."""
        for move in range(MOST):
            self._outside()
            if self.workers:
                worker = self.rng.choice(self.workers + self.zombies * 3)
                try:
                    worker.move()
                except Died:
                    self._kill(worker)
            if move % 100 == 99 and self.is_over():
                return
        raise AssertionError(f"did not end: {self.statuses()}")

    def _outside(self) -> None:
        chance = self.rng.random
        if chance() < REAP:
            at_once(self.steps.reap())
        if chance() < DUE:
            at_once(self.upkeep.release_due())
        if chance() < REPUBLISH:
            self.again |= {job_id.decode() for job_id in self.redis.zrange(f"{self.prefix}doubt", 0, -1)}
            at_once(self.upkeep.republish(0))
        if self.kills and chance() < KILL:
            self.kills -= 1
            self._kill(self.rng.choice(self.workers))
        if self.zombies and chance() < KILL:
            zombie = self.zombies.pop()
            at_once(self.upkeep.report_lost(zombie.name))
            zombie.close()
        if self.cancels and chance() < 0.002:
            self.cancels = False
            at_once(self.records.cancel(self.rng.choice(self.roots), "t"))
        if chance() < SIGNAL:
            self._signal()
        if chance() < PLAIN and len(self.order) < 30:
            self.plain.add(self._submit("leaf", {"x": 0, "fail": ""}))
        self._retry()

    def _kill(self, worker: Worker) -> None:
        """Its supervisor reports it; it may go on all the same, thought dead."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        self._spawn()
        self.dead.add(worker.name)
        if self.rng.random() < 0.5:
            self.zombies.append(worker)
        waiting = {key: self.redis.hget(key, "crashes") for key in self.jobs() if self.redis.hget(key, "status") == b"waiting"}
        at_once(self.upkeep.report_lost(worker.name))
        assert all(self.redis.hget(key, "crashes") == crashes for key, crashes in waiting.items()), "a parent that waited was charged"

    def _signal(self) -> None:
        """Somebody answers a question, perhaps before it was asked, or late."""
        for key in self.jobs():
            job_id = key.decode().rpartition(":")[2]
            spec, status, epoch = self.redis.hmget(key, "input", "status", "epoch")
            if spec and b'"p":"human"' in spec and status and self.rng.random() < 0.5:
                value = b"%d" % self.rng.randrange(3)
                if at_once(self.trees.signal(job_id, "t", "approve", value)) == "new":
                    self.answered[job_id, int(epoch or 0)] = value

    def _retry(self) -> None:
        """A caller retries a root that has failed, once."""
        for root in self.roots:
            if root not in self.retried and self.status(root) == "failed" and self.rng.random() < RETRY:
                self.retried.add(root)
                new = f"job_{self._made:012x}{self.rng.getrandbits(80):020x}"
                assert at_once(self.records.resubmit(root, "t", new)) == new
                self.order[new] = len(self.order)
                self.roots.append(new)
                self.retried.add(new)

    # -- what is to be seen -------------------------------------------------------------------------------------------

    def jobs(self) -> list[bytes]:
        """Keys of all records."""
        return list(self.redis.scan_iter(f"{self.prefix}job:*", count=1000))

    def status(self, job_id: str) -> str:
        """As stored."""
        return (self.redis.hget(f"{self.prefix}job:{job_id}", "status") or b"").decode()

    def is_orphan(self, job_id: str, most: int = 9) -> bool:
        """Whether one of the `most` jobs above it has ended."""
        above = self.redis.hget(f"{self.prefix}job:{job_id}", "parent")
        return bool(above and most) and (self.status(above.decode()) in ENDED or self.is_orphan(above.decode(), most - 1))

    def statuses(self) -> dict[str, int]:
        """How many jobs have which."""
        found = [(self.redis.hget(key, "status") or b"").decode() for key in self.jobs()]
        return {status: found.count(status) for status in set(found)}

    def is_over(self) -> bool:
        """Whether all has ended, and nothing is left to be stopped."""
        if any(self.status(root) not in ENDED for root in self.roots) or any(
            self.status(root) == "failed" and root not in self.retried for root in self.roots
        ):
            return False
        return not self.redis.zcard(f"{self.prefix}reap") and self.statuses().keys() <= ENDED

    def see_popped(self, lane: str, ids: list[str], ahead_of: list[bytes]) -> None:
        """A job that was accepted before a root is never behind the steps of that, nor they behind one that came after it (S34).

        `ahead_of`: the jobs of trees that stood in the lane before.
        """
        for job_id in ids:
            if job_id in self.plain:
                self._see_order(job_id, ahead_of)
            root = (self.redis.hget(f"{self.prefix}job:{job_id}", "root") or b"").decode()
            if lane == LEAVES and root in self.order:
                ahead = [each for each in self.plain if self.order[each] < self.order[root]]
                assert not ahead, f"a step of root {self.order[root]} was popped before {ahead}"
            self.plain.discard(job_id)

    def _see_order(self, plain: str, steps: list[bytes]) -> None:
        created = int(self.redis.hget(f"{self.prefix}job:{plain}", "created") or 0)
        for step in steps:
            parent, place = self.redis.hmget(f"{self.prefix}job:{step.decode()}", "parent", "place")
            assert not parent or created <= float(place) + 1, f"{plain} was popped before {step.decode()}, whose root is older"

    def check(self) -> None:
        """Judge a world that is over."""
        for key in self.jobs():
            self._check_job(key.decode().rpartition(":")[2], {name.decode(): value for name, value in self.redis.hgetall(key).items()})
        for name in ("lease", "reap", "doubt", f"wait:{LEAVES}", f"wait:{FLOWS}", f"tree:{LEAVES}", f"tree:{FLOWS}", "due"):
            assert not self.redis.zcard(self.prefix + name), name
        assert not [key for key, times in self.paid.items() if times > 1], "what had finished was paid again"

    def _check_job(self, job_id: str, record: dict[str, bytes]) -> None:
        ends = [entry for entry in self.redis.lrange(f"{self.prefix}ev:{job_id}", 0, -1) if b" done " in entry]
        assert len(ends) == 1, (job_id, "ends in the log", len(ends))
        kids, ended = int(record.get("kids", 0)), self.redis.llen(f"{self.prefix}ends:{job_id}")
        assert ended <= kids, (job_id, "ended", ended, "of", kids)
        assert int(record.get("crashes", 0)) < POLICY.max_crashes
        if "parent" not in record and "limits" in record:
            below = [self.redis.hmget(key, "root", "usage") for key in self.jobs()]
            used = sum(orjson.loads(usage)["n"] for root, usage in below if root == job_id.encode() and usage)
            told = orjson.loads(record.get("tree_usage", b'{"n":0}'))["n"]
            assert told == used, (job_id, "has used", told, "instead of", used)


def live(url: str, prefix: str, seed: int, *, healed: bool = True) -> None:
    """Let a world live, and judge it.

    Args:
        healed: workers die, and what pub/sub loses is found by heartbeats. Otherwise neither: a wake-up that is lost is lost for good.
    """
    world = World(url, f"{prefix}{seed}:", seed) if healed else World(url, f"{prefix}{seed}:", seed, kills=0, told=True, let_go=False)
    try:
        world.run()
        world.check()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        world.close()
