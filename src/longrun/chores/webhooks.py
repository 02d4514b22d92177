"""Sends webhooks that are due. Runs beside the API processes, not in workers: `docs/decisions/0011-webhooks.md` says why.

Deliveries are claimed like jobs, so any number of processes may do this at once, and one that dies in the middle is followed by another
that sends the message again, with the same id.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from longrun.chores.host_limits import MOST, Hosts
from longrun.clock import is_batch_id
from longrun.errors import BatchGone, BatchNotFound, JobGone, JobNotFound, LongrunError
from longrun.log import Log
from longrun.service.parts import Parts
from longrun.service.webhooks import MOST_BYTES, batch_message, message
from longrun.store.follow import Listener
from longrun.store.webhooks import Due, Try
from longrun.version import VERSION
from longrun.webhooks.guard import Answer, GuardedClient, Networks, Refused, Unreachable
from longrun.webhooks.schedule import after_try
from longrun.webhooks.signing import new_secret, sign

log = Log("longrun.webhooks")

#: Seconds between two looks at what is due; what becomes due by a job's end is announced.
_LOOK = 1.0
_AWAY = 1.0
#: Seconds in which a quick host gets through with what is on its way to it, before more is taken: each that is too many is taken in vain.
_BREATH = 0.05


class Sender:
    """See the module.

    Args:
        parts: the open service.
        client: makes the calls.
        base: what stands before `/jobs` in the URLs of messages.
    """

    def __init__(self, parts: Parts, client: GuardedClient, base: str) -> None:
        self._parts, self._client, self._base = parts, client, base
        self._tasks: set[asyncio.Task[None]] = set()
        self._hosts = Hosts()
        self._nonce = secrets.token_hex(8)

    async def run(self) -> None:
        """Send for ever."""
        store = self._parts.store
        # In this order, so that a process which announces itself is never counted for one that does not.
        listen = store.follower.listen
        async with listen(store.hooks_announced_channel), listen(store.hooks_channel) as listener:
            try:
                while True:
                    free = MOST - len(self._tasks)
                    taken = await self._take(free) if free else []
                    if await self._hand_out(taken, listener):
                        await asyncio.sleep(_BREATH)
                    elif len(taken) < free or not free:
                        await listener.wait(_LOOK)
            finally:
                for task in tuple(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hand_out(self, taken: Sequence[Due], listener: Listener) -> bool:
        """Send what may be sent now and give the rest back. Whether some of that is for a host which is quick and merely has enough."""
        back, crowded = [], False
        for due in taken:
            host = urlsplit(due.url).netloc
            admission = self._hosts.admit(host)
            if admission == "go":
                self._start(due, host, listener)
                continue
            crowded |= admission == "crowded"
            delay = self._hosts.wait(host) if admission == "slow" else 0.0
            back.append(_guarded(due, self._parts.store.webhooks.settle(due, "release", delay=delay)))
        await asyncio.gather(*back)
        return crowded

    async def _take(self, most: int) -> list[Due]:
        try:
            taken = await self._parts.store.webhooks.take(self._nonce, most, new_secret())
        except LongrunError as error:
            # The claim may have gone through: asked again with the same nonce, it gives the same messages.
            log.warning("webhooks cannot be claimed", error=str(error))
            await asyncio.sleep(_AWAY)
            return []
        self._nonce = secrets.token_hex(8)
        return taken

    def _start(self, due: Due, host: str, listener: Listener) -> None:
        begun = self._hosts.begin(host)
        task = asyncio.get_running_loop().create_task(_guarded(due, self.deliver(due)))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._hosts.end(host, begun)
            self._tasks.discard(task)
            listener.put(b"free")

        task.add_done_callback(over)

    async def deliver(self, due: Due) -> None:
        """One try, and the note of what became of it. Raises StoreUnavailable."""
        try:
            body, at = await self._body(due), time.time()
        except (JobNotFound, JobGone, BatchNotFound, BatchGone):
            await self._parts.store.webhooks.settle(due, "failed", reason="What it tells of was deleted or has expired.")
            return
        headers = sign(due.secrets, due.id, int(at), body) | {"content-type": "application/json", "user-agent": f"Longrun/{VERSION}"}
        answer, error, begun = None, None, time.monotonic()
        try:
            answer = await self._client.post(due.url, body, headers)
        except (Refused, Unreachable) as failed:
            error = str(failed)
        await self._settle(due, answer, Try(int(at * 1000), answer.status if answer else None, error, round(time.monotonic() - begun, 3)))

    async def _body(self, due: Due) -> bytes:
        if due.job is None:
            return message(due, None, self._base)
        if is_batch_id(due.job):
            return batch_message(due, await self._parts.store.batches.read(due.job, due.tenant), self._base)
        job = await self._parts.store.records.read(due.job, due.tenant, most_output=MOST_BYTES)
        return message(due, await self._parts.urls.job(job, self._base), self._base)

    async def _settle(self, due: Due, answer: Answer | None, tried: Try) -> None:
        asked = None if answer is None else answer.headers.get("retry-after")
        verdict = after_try(due.tries, tried.status, asked, delays=self._parts.settings.webhook_schedule)
        taken = await self._parts.store.webhooks.settle(due, verdict.outcome, delay=verdict.delay, tried=tried, reason=verdict.reason)
        if verdict.reason:
            log.warning("webhook given up", delivery=due.id, job_id=due.job, reason=verdict.reason)
        if not taken:
            log.warning(
                "the outcome of a webhook's try is refused: another try has begun, or the store has lost it",
                delivery=due.id,
                job_id=due.job,
            )


async def _guarded(due: Due, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except LongrunError as error:
        # Its lease runs out, and it is sent again.
        log.warning("what became of a webhook cannot be stored", delivery=due.id, error=str(error))
    except Exception as error:
        log.error("webhook failed", delivery=due.id, exc_info=error)


async def send_webhooks(parts: Parts, base: str) -> None:
    """Send webhooks until canceled. `base`: see `Sender`."""
    settings = parts.settings
    client = GuardedClient(Networks(settings.allowed_networks), timeout=settings.webhook_timeout)
    sender = Sender(parts, client, base)
    try:
        while True:
            try:
                await sender.run()
            except Exception as error:
                # Whatever it is, the chores beside this one must not end with it.
                log.error("sending webhooks failed, it is started again", exc_info=error)
            await asyncio.sleep(_AWAY)
    finally:
        await client.close()
