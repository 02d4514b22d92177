"""A worker of `step_world`: what it holds, and each of its scripts as one move."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import orjson
from tests.chaos.step_programs import Again, Ask, Call, Drop, Job, Local, Nap, Program, Race, StepFailed, program

from longrun.jobs.fence import Fence
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim
from longrun.store.steps import Answer, Child, Result, SignalWait, Sleep, StillStops, Terms
from longrun.store.steps import Call as Asked

if TYPE_CHECKING:
    from tests.chaos.step_world import World

POLICY = Policy(max_crashes=50, max_attempts=9).to_json()
FAILED = b'{"code":"x","detail":"y","attempt":1}'
USED = b'{"n":1}'
#: How often a worker does what it need not do, by move.
TAKE, DIE, BEAT, DROPPED, LET_GO, OBEY = 0.6, 0.03, 0.05, 0.1, 0.05, 0.5


class Died(Exception):
    """The worker is killed here."""


def asked(call: Call) -> Asked:
    """A call of a program, as the store takes it."""
    if isinstance(call, Job):
        return Child(call.key, "m", call.model, "gpu", orjson.dumps(call.spec), POLICY)
    if isinstance(call, Nap):
        return Sleep(call.key, "m", call.ms / 1000)
    return SignalWait(call.key, "m", call.name, call.ms / 1000)


class Run:
    """A claimed job: a leaf, or a parent with its program."""

    def __init__(self, claim: Claim) -> None:
        self.id, self.fence, self.claim = claim.id, claim.fence, claim
        self.spec = orjson.loads(claim.input)
        self.epoch = claim.flow.epoch if claim.flow else 0
        self.program: Program | None = None
        self.value: Any = None
        self.error: Exception | None = None
        self.wanted: Ask | Local | Race | Drop | None = None
        self.results: dict[str, Result] = {}
        self.fields: dict[str, bytes] = {}
        self.loaded = not (claim.flow and claim.flow.journal)
        self.stage = 0
        self.seen = -1
        self.parked = self.told = self.stop = False

    @property
    def is_flow(self) -> bool:
        return "p" in self.spec


class Worker:
    """See the module."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.runs: list[Run] = []
        self._nonces = itertools.count(1)
        self._pubsub = world.redis.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(f"{world.prefix}ctl:{name}")
        self._pubsub.get_message(timeout=0.05)

    def close(self) -> None:
        """Listen no longer."""
        self._pubsub.close()

    def move(self) -> None:
        """One script, or none."""
        world, chance = self.world, self.world.rng.random
        self._hear()
        room = sum(not run.parked for run in self.runs) < world.slots
        if room and (not self.runs or chance() < TAKE):
            return self._take()
        if not self.runs:
            return None
        run = world.rng.choice(self.runs)
        if chance() < BEAT:
            return self._beat(run)
        if run.parked:
            return self._tend(run, room)
        if run.stop and chance() < OBEY:
            return self._end(run, "canceled")
        return self._go(run)

    def _hear(self) -> None:
        while (message := self._pubsub.get_message()) is not None:
            if message["type"] != "message" or (self.world.rng.random() < DROPPED and not self.world.told):
                continue
            verb, job_id = message["data"].decode().split(" ")
            for run in self.runs:
                if run.id == job_id:
                    run.stop |= verb == "cancel"
                    run.told |= verb == "step"

    def _beat(self, run: Run) -> None:
        (answer,) = self.verb(self.world.claims.heartbeat([(run.id, run.fence)], 1))
        run.stop |= answer == 2
        run.told |= answer == 3 and not self.world.told
        if answer == 0:
            self.runs.remove(run)

    def _take(self) -> None:
        world = self.world
        for lane in ("gpu.flow", "gpu.leaf"):
            steps = [each[7:] for each in world.redis.zrange(f"{world.prefix}tree:{lane}", 0, -1)]
            ids = [job_id.decode() for job_id in world.now.send("pop", lane, 1)[2::3]]
            world.see_popped(lane, ids, steps)
            for job_id in ids:
                if not world.told and world.rng.random() < DIE:
                    raise Died
                claim = self.verb(world.claims.claim(job_id, f"{self.name}-{next(self._nonces)}", self.name, "cpu"))
                if claim is not None:
                    assert not world.is_orphan(job_id), "a step has begun that nobody can join"
                    self.runs.append(Run(claim))
            if ids:
                return

    def _tend(self, run: Run, room: bool) -> None:
        """One that waits: it is let go, or goes on."""
        if run.stop:
            return self._end(run, "canceled")
        if self.world.lets_go and self.world.rng.random() < LET_GO:
            self.verb(self.world.steps.let_go([(run.id, run.fence, 5, USED)]))
            self.runs.remove(run)
        elif run.told and room:
            run.told = False
            self._collect(run, self.verb(self.world.steps.resume(run.id, run.fence, run.seen, go=True)))
        return None

    def _end(self, run: Run, outcome: str, data: bytes = FAILED) -> None:
        # The success of one that was stopped with its parent counts, but a retry of the parent may have begun without it.
        stopped = self.world.status(run.id) == "canceling" or self.world.is_orphan(run.id)
        ended = self.verb(self.world.claims.finish(run.id, run.fence, outcome, data, USED))
        self.runs.remove(run)
        if ended is None:
            return
        before = self.world.accepted.setdefault(run.id, run.fence)
        assert before == run.fence, "two ends of one job were accepted"
        if outcome == "succeeded" and not stopped and not run.is_flow and run.claim.flow is not None:
            self.world.paid[run.claim.flow.origin] = self.world.paid.get(run.claim.flow.origin, 0) + 1

    def _go(self, run: Run) -> None:
        if not run.is_flow:
            return self._work(run)
        if not run.loaded:
            return self._load(run)
        if run.program is None:
            run.program = program(run.spec, run.claim.attempt)
        if run.wanted is None:
            return self._advance(run)
        if isinstance(run.wanted, Local):
            return self._local(run, run.wanted)
        if isinstance(run.wanted, Drop):
            if not self.verb(self.world.steps.drop(run.id, run.fence, run.wanted.keys)):
                self.runs.remove(run)
            return self._deliver(run, None)
        return self._ask(run, run.wanted)

    def _work(self, run: Run) -> None:
        fails = run.spec["fail"]
        if run.stage == 0:
            run.stage = 1
            assert run.id not in self.world.accepted or self.name in self.world.dead, "it runs again after its end was accepted"
        elif fails == "always" or (fails == "first" and not self.world.redis.hexists(f"{self.world.prefix}job:{run.id}", "retry_of")):
            self._end(run, "failed")
        else:
            self._end(run, "succeeded", b"%d" % (run.spec["x"] + 1))

    def _load(self, run: Run) -> None:
        found = self.verb(self.world.steps.history(run.id, run.fence))
        if found is None:
            self.runs.remove(run)
            return
        run.fields, ends = found
        run.seen, run.loaded = len(ends), True

    def _advance(self, run: Run) -> None:
        assert run.program is not None
        error, run.error, run.stage, run.results = run.error, None, 0, {}
        try:
            run.wanted = run.program.throw(error) if error else run.program.send(run.value)
        except StopIteration as end:
            self._end(run, "succeeded", orjson.dumps(end.value))
        except StepFailed:
            self._end(run, "failed")
        except Again:
            self.verb(self.world.claims.retry_later(run.id, run.fence, 0, FAILED, USED))
            self.runs.remove(run)

    def _deliver(self, run: Run, value: Any, error: Exception | None = None) -> None:
        run.value, run.error, run.wanted = value, error, None

    def _see_delivered(self, run: Run, key: str, what: Any) -> None:
        """What a parent was once given it is given again by every replay of the same epoch."""
        before = self.world.delivered.setdefault((run.id, run.epoch, key), what)
        assert before == what, (run.id, run.epoch, key, before, what)

    def _local(self, run: Run, wanted: Local) -> None:
        entry = run.fields.get(wanted.key, b"")
        if entry[:2] == b"d ":
            return self._deliver(run, orjson.loads(entry.split(b" ", 4)[4]))
        if run.stage == 0 and wanted.once:
            kept = self._journal(run, wanted.key, b"b m %d" % run.claim.attempt)
            if kept is None:
                return None
            if kept[:2] == b"b " and int(kept.split(b" ", 4)[4]) != run.claim.attempt:
                return self._deliver(run, None, StepFailed())
            run.stage = 1
            return None
        if run.stage < 2:
            run.stage = 2
            made = self.world.begun[run.id, wanted.key] = self.world.begun.get((run.id, wanted.key), 0) + 1
            assert made == 1 or not wanted.once, "what is to be done once was done twice"
            return None
        kept = self._journal(run, wanted.key, b"d m %d" % run.claim.attempt)
        if kept is not None:
            assert kept[:2] == b"d ", kept
            value = orjson.loads(kept.split(b" ", 4)[4])
            self._see_delivered(run, wanted.key, value)
            self._deliver(run, value)
        return None

    def _journal(self, run: Run, key: str, text: bytes, stop: list[str] | None = None) -> bytes | None:
        kept = self.verb(self.world.steps.journal(run.id, run.fence, [(key, text)], stop or []))
        if kept is None:
            self.runs.remove(run)
            return None
        run.fields[key] = kept[0]
        return bytes(kept[0])

    def _ask(self, run: Run, wanted: Ask | Race) -> None:
        if isinstance(wanted, Race) and run.fields.get(wanted.key, b"")[:2] == b"d ":
            return self._deliver(run, orjson.loads(run.fields[wanted.key].split(b" ", 4)[4]))
        calls: list[Call] = list(wanted.calls)
        ended = {key: result for key, result in run.results.items() if result.state != "pending"}
        any_will_do = isinstance(wanted, Race) or wanted.need == "any"
        if ended and (any_will_do or len(ended) == len(calls)):
            return self._settle(run, wanted, ended)
        need = 1 if any_will_do else len(calls) - len(ended)
        if run.stage == 0 and self.world.rng.random() < 0.5:
            # In one script with the wait for them, or before it.
            need = 0
        try:
            answer = self.verb(
                self.world.steps.ask(
                    run.id, run.fence, [asked(call) for call in calls] if run.stage == 0 else [], seen=run.seen, need=need, terms=Terms()
                )
            )
        except StillStops:
            return None  # it asks again
        if answer is not None and need and not answer.waits and run.stage:
            answer = self.verb(self.world.steps.resume(run.id, run.fence, run.seen, go=False))
        run.stage = 1
        return self._collect(run, answer)

    def _collect(self, run: Run, answer: Answer | None) -> None:
        if answer is None:
            if self.world.status(run.id) == "canceling" and run.stop:
                return self._end(run, "canceled")
            # The claim is stale, or a heartbeat will say that it is to stop.
            if self.world.status(run.id) != "canceling" and not self._root_ends(run):
                self.runs.remove(run)
            return None
        run.seen, run.parked = answer.ended, answer.waits
        known = {call.key for call in getattr(run.wanted, "calls", [])}
        run.results |= {result.key: result for result in answer.results if result.key in known and result.state != "pending"}
        return None

    def _root_ends(self, run: Run) -> bool:
        """The top of its tree has ended or is to, and the chore has not come to it: it asks in vain until then."""
        attempt, nonce = self.world.redis.hmget(f"{self.world.prefix}job:{run.id}", "attempt", "nonce")
        return Fence(f"{(attempt or b'').decode()}/{(nonce or b'').decode()}") == run.fence

    def _settle(self, run: Run, wanted: Ask | Race, ended: dict[str, Result]) -> None:
        if isinstance(wanted, Race):
            winner = min(ended)
            losers = [call.key for call in wanted.calls if call.key != winner]
            kept = self._journal(run, wanted.key, b"d m " + orjson.dumps(winner), losers)
            if kept is not None:
                self._see_stopped(run, wanted)
                self._deliver(run, orjson.loads(kept.split(b" ", 4)[4]))
            return None
        bad = [key for key, result in ended.items() if result.state != "succeeded"]
        for key, result in ended.items():
            if wanted.need == "all":
                self._see_delivered(run, key, result.data if result.state == "succeeded" else result.state)
                self._see_answer(run, key, result)
        if bad and not wanted.catch:
            return self._deliver(run, None, StepFailed())
        values = {key: orjson.loads(result.data) if result.state == "succeeded" else None for key, result in ended.items()}
        return self._deliver(run, values)

    def _see_stopped(self, run: Run, wanted: Race) -> None:
        entries = self.world.redis.hmget(f"{self.world.prefix}steps:{run.id}", [call.key for call in wanted.calls])
        found = {self.world.status(entry.split(b" ")[1].decode()) for entry in entries if entry}
        assert not found & {"queued", "running", "waiting", "asleep"}, "those that lost the race were not stopped"

    def _see_answer(self, run: Run, key: str, result: Result) -> None:
        """A signal that the store has taken is the one that the wait is answered with."""
        taken = self.world.answered.get((run.id, run.epoch))
        if key == "s:approve" and taken is not None:
            assert (result.state, result.data) == ("succeeded", taken), (run.id, result, taken)

    def verb(self, coroutine: Any) -> Any:
        """What a verb of the store returns."""
        from tests.chaos.step_world import at_once

        return at_once(coroutine)
