"""Every key Longrun writes, in one place. All begin with `Settings.prefix` (default `longrun:`).

`key` (type, how long it lives): what it holds. Without a word on its life a key stays as long as the service.

job:<id>            hash, until its expiry, then a tombstone of 7 days. The record: `jobs.record.FIELDS`, and these fields beside them:
  input               JSON as accepted
  idem                full name of the idempotency key, to let that live as long
  nonce               of the claim: a claim sent twice gets the same answer
  crashes, releases   budgets apart from `errors`
  suspect             was aboard a crash with others, or one more crash would end it: with whom it may still run, its own id = with nobody
  repushed            ms when a ticket was pushed out of the order of `queued` (at the front, or once more)
  local               events of this attempt appended so far: an append sent twice adds nothing
  base, log_bytes     events that the log's limits have taken from its head, none without the field; bytes of those it holds
  cut                 the latest attempt of which an `output` event was taken so
  a:<n>, z:<n>        attempt n: JSON at its start; `at outcome error` at its end
  gone                1: a tombstone; only `tenant` is left beside it
ev:<id>             list, as the record. The event log; element i is event seq base+i+2 (event 1, `queued`, is rendered from the record),
                    each `attempt at type data`
idem:<tenant>:<key> string, as its record or tombstone. `<job id> <fingerprint>`
idx:<tenant>        zset, as the records. Job id → created ms: the listing
wait:<queue>.<model>      zset. Waiting ids → (9 − priority)·10¹³ + queued ms: depth, position, oldest age
<queue>.<model>[:<n>]     list. The lane's tickets (Celery messages); n = 9 − priority, absent for 0; LPUSH in, RPOP out
wake:<queue>.<model>      list of at most one element. Workers that wait for the lane block on it
wake:@<worker>            list, one lease. Interrupts the wait of one worker
mark                zset. `<lane>:<n>` → queued ms of the latest job claimed by a ticket from that list's tail: all before it were popped
doubt               zset. Id → ms when its ticket was popped and not yet claimed
lease               zset. Id → ms when the claim runs out
due                 zset. Id → ms when a delayed or retrying job is to be queued
deadline            zset. Id → ms when a job that waits expires (`start_within` before its first start, `total_timeout`)
expire              zset. Finished id → ms when the record goes
dead:<tenant>       zset. Failed id → finished ms: the dead letters, until retried or expired
lanes               set. Lanes that ever had a job
stats               hash. `<model>:<what>` → count, or sum of ms
workers             zset. Worker name → ms when its entry runs out
worker:<name>       string, 3 leases. JSON: what the worker runs
trouble             hash. Part, such as `worker@host` → `<until ms> <text>`: what keeps dying, for /readyz
swept               string. Ms of the last sweep: a store that was away expires nothing at first
amnesty             string, one lease. Ms until which no lease expires

about               hash. `format` of the data, `id` of this store, `born` ms, `version` that made it: see `store.facts`
nothing             never written: see `pass_when_full` in lib.lua

Channels: `note:<id>` (something about the job changed; `jobs.events.carried` reads those that bring events), `ctl:<worker>` (commands to a
worker: `cancel <id>`).
"""

from __future__ import annotations


def note_channel(prefix: str, job_id: str) -> str:
    """Channel on which a job's changes are announced."""
    return f"{prefix}note:{job_id}"


def worker_channel(prefix: str, worker: str) -> str:
    """Channel on which a worker gets commands."""
    return f"{prefix}ctl:{worker}"
