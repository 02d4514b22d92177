"""Every key Longrun writes, in one place. All begin with `Settings.prefix` (default `longrun:`).

| key                     | type   | what it holds                                                        | lives                       |
|-------------------------|--------|----------------------------------------------------------------------|-----------------------------|
| job:<id>                | hash   | the record: `jobs.record.FIELDS`, and the fields below               | until expiry, then tombstone |
|   input                 |        | JSON as accepted                                                     |                             |
|   idem                  |        | the idempotency key's full key name, to let it live as long          |                             |
|   nonce                 |        | the claim's nonce: a claim sent twice gets the same answer           |                             |
|   crashes, releases     |        | budgets apart from `errors`                                          |                             |
|   suspect               |        | 1: was aboard a crash with others, or one more crash would end it; runs alone from now on |                             |
|   local                 |        | events of this attempt appended so far (an append sent twice adds nothing) |                       |
|   a:<n>, z:<n>          |        | attempt n: JSON at its start; `at outcome error` at its end          |                             |
|   gone                  |        | 1: a tombstone; only `tenant` is left beside it                      | 7 days                      |
| ev:<id>                 | list   | event log; element i is event seq i+2 (event 1, `queued`, is rendered from the record): `attempt at type data` | as the record |
| idem:<tenant>:<key>     | string | `<job id> <fingerprint>`                                             | as its record or tombstone  |
| idx:<tenant>            | zset   | job id → created ms: the listing                                     | as the record               |
| wait:<queue>.<model>    | zset   | waiting ids → (9 − priority)·10¹³ + queued ms: depth, position, oldest age | while queued          |
| <queue>.<model>[:<n>]   | list   | the lane's tickets (Celery messages); n = 9 − priority, absent for 0; LPUSH in, RPOP out | until popped |
| wake:<queue>.<model>    | list   | at most one element: workers that wait for the lane block on it      | until popped                |
| wake:@<worker>          | list   | interrupts the wait of one worker                                     | until popped, one lease     |
| doubt                   | zset   | id → ms when its ticket was popped and not yet claimed               | until claimed               |
| lease                   | zset   | id → ms when the claim runs out                                      | while claimed               |
| due                     | zset   | id → ms when a delayed or retrying job is to be queued               | until then                  |
| deadline                | zset   | id → ms when an unstarted job expires (`start_within`, `total_timeout`) | until the end            |
| expire                  | zset   | finished id → ms when the record goes                                | until then                  |
| dead:<tenant>           | zset   | failed id → finished ms: the dead letters                            | until retried or expired    |
| lanes                   | set    | lanes that ever had a job                                            | always                      |
| stats                   | hash   | `<model>:<what>` → count or sum of ms                                | always                      |
| workers                 | zset   | worker name → ms when its entry runs out                             | renewed by heartbeats       |
| worker:<name>           | string | JSON: what the worker runs                                           | 3 leases                    |
| swept                   | string | ms of the last sweep: a store that was away expires nothing at first | always                      |
| amnesty                 | string | ms until which no lease expires                                      | one lease                   |

Channels: `note:<id>` (something about the job changed), `ctl:<worker>` (commands to a worker: `cancel <id>`).
"""

from __future__ import annotations

#: Span of one priority in the score of `wait:`; milliseconds since the epoch stay below it until the year 2286.
PRIORITY_SPAN = 10**13


def note_channel(prefix: str, job_id: str) -> str:
    """Channel on which a job's changes are announced."""
    return f"{prefix}note:{job_id}"


def worker_channel(prefix: str, worker: str) -> str:
    """Channel on which a worker gets commands."""
    return f"{prefix}ctl:{worker}"
