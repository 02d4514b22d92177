"""What jobs ask, and who answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from longrun import wire
from longrun.blobs import signing
from longrun.clock import is_job_id
from longrun.errors import AlreadyAnswered, Forbidden, JobEnded, PayloadTooLarge, Problem, QuotaExceeded, ValidationFailed, WaitTimeout
from longrun.jobs.record import JobRecord
from longrun.jobs.signals import MOST_VALUE, NAME
from longrun.service.caller import Caller
from longrun.service.json_schema import findings
from longrun.service.jsontext import canonical
from longrun.service.read import known_form
from longrun.store.trees import MOST_SIGNALS, Ask

#: Bytes up to which a value is looked at at once: more of them would keep others waiting.
_AT_ONCE = 4 * 1024
#: Names that one script looks at.
_PIECE = 100


async def asks_of(caller: Caller, job: JobRecord) -> list[wire.Ask]:
    """What a job waits to be answered, with the URL to answer it. Raises StoreUnavailable."""
    shown = []
    for each in await _open(caller, job):
        url = await caller.urls.signal(job.tenant, job.id, each.name, each.until, caller.base)
        shown.append(await _shown(caller, job, each, url))
    return shown


async def _open(caller: Caller, job: JobRecord, *only: str) -> list[Ask]:
    names = [] if job.asks is None or job.terminal else [name for name in job.asks.split() if not only or name in only]
    pieces = [names[start : start + _PIECE] for start in range(0, len(names), _PIECE)]
    return [ask for piece in pieces for ask in await caller.store.trees.open_asks(job.id, piece)]


async def _shown(caller: Caller, job: JobRecord, ask: Ask, url: str | None = None) -> wire.Ask:
    return wire.Ask.of(ask.name, await caller.urls.rendered(ask.ask, job.tenant, caller.base), ask.schema, ask.until, url)


async def look(caller: Caller, job_id: str, name: str, query: Mapping[str, str]) -> wire.Signal:
    """How it stands with what a job asks under a name. It changes nothing, and may be asked by whoever may answer.

    Raises:
        Forbidden: the signature of the URL is wrong or has expired.
        JobNotFound, JobGone
        ValidationFailed: no job asks under such a name.
    """
    caller = await _entitled(caller, job_id, name, query)
    job = await caller.store.records.read(known_form(job_id), caller.tenant, most_output=0)
    ask = await _asked(caller, job, name)
    return wire.Signal(name, job_id, ask is not None, None if ask is None else await _shown(caller, job, ask))


async def answer(caller: Caller, job_id: str, name: str, value: Any, query: Mapping[str, str]) -> wire.Signal:
    """Give a job the answer to what it asks, or will ask, under a name. The same value may be given again.

    What the answer to an open question has to be is looked at here; of one that comes before the question the job itself finds out.

    Raises:
        Forbidden, JobNotFound, JobGone: as `look`.
        ValidationFailed: the value does not fit what the job asks for.
        PayloadTooLarge: it has more than 64 KB.
        AlreadyAnswered: the job has another value.
        WaitTimeout, JobEnded: it does not wait any longer.
        QuotaExceeded: too many answers came before their questions.
    """
    caller = await _entitled(caller, job_id, name, query)
    job = await caller.store.records.read(known_form(job_id), caller.tenant, most_output=0)
    data = canonical(value)
    if len(data) > MOST_VALUE:
        raise PayloadTooLarge(f"The answer may have {MOST_VALUE:,} bytes of JSON.", limit=MOST_VALUE)
    ask = await _asked(caller, job, name)
    if ask is not None:
        schema = orjson.loads(ask.schema)
        found = await asyncio.to_thread(findings, value, schema) if len(data) > _AT_ONCE else findings(value, schema)
        if found:
            raise ValidationFailed(f"This is no answer to what the job asks under {name!r}: look at its schema.", errors=found)
    outcome = await caller.store.trees.signal(job_id, caller.tenant, name, data)
    if outcome not in ("new", "same"):
        raise _refused(outcome, job_id, name)
    return wire.Signal(name, job_id, False, None)


async def _asked(caller: Caller, job: JobRecord, name: str) -> Ask | None:
    return next(iter(await _open(caller, job, name)), None)


def _refused(outcome: str, job_id: str, name: str) -> Problem:
    if outcome == "other":
        return AlreadyAnswered(f"Job {job_id} has another answer to {name!r} already. The first one counts.")
    if outcome == "over":
        return WaitTimeout(f"Job {job_id} does not wait for {name!r} any longer: its time is over.")
    if outcome == "ended":
        return JobEnded(f"Job {job_id} has ended: it waits for no answer.")
    return QuotaExceeded(f"Job {job_id} has {MOST_SIGNALS} answers already; one to {name!r} has no room.")


async def _entitled(caller: Caller, job_id: str, name: str, query: Mapping[str, str]) -> Caller:
    """Who may answer a job: its tenant, or, as if it were that, whoever has the signed URL of the question."""
    if not NAME.fullmatch(name):
        finding = {"pointer": "/path/name", "detail": "must have 1 to 64 letters, digits, or . _ : - behind the first"}
        raise ValidationFailed("Nothing can be asked under this name.", errors=[finding])
    if "sig" not in query and not caller.tenant:
        raise Forbidden("This URL needs its signature, or a key of this service.")
    if "sig" not in query:
        return caller
    secret = await caller.urls.know()
    owner = await caller.store.records.owner(job_id) if is_job_id(job_id) else ""
    # Said first, and after the same work for every id: who has no right to ask does not learn what exists, or has existed.
    signing.verify_signal(secret, query, tenant=owner, job=job_id, name=name)
    return replace(caller, tenant=owner)
