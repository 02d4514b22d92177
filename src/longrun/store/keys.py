"""Every key Longrun writes, in one place. All begin with `Settings.prefix` (default `longrun:`).

`key` (type, how long it lives): what it holds. Without a word on its life a key stays as long as the service.

job:<id>            hash, until its expiry, then a tombstone of 7 days. The record: `jobs.record.FIELDS`, and these fields beside them:
  input               JSON as accepted
  idem                full name of the idempotency key, to let that live as long
  nonce               of the latest claim: one sent twice gets the same answer; with `attempt` it is the fence (`jobs.fence`)
  crashes, releases   budgets apart from `errors`
  suspect             was aboard a crash with others, or one more crash would end it: the group with which it may still run (`worker.blame`)
  beside              1: it runs so, and other jobs in the same worker
  repushed            ms when a ticket was pushed out of the order of `queued` (at the front, or once more)
  place               ms that gave it its place in its lane, of a job that was given back: it waits since `queued` only
  local               events of this attempt appended so far: an append sent twice adds nothing
  base, log_bytes     events that the log's limits have taken from its head, none without the field; bytes of those it holds
  cut                 the latest attempt of which an `output` event was taken so
  a:<n>, z:<n>, u:<n> attempt n: JSON at its start (with the nonce); `at outcome error` at its end; what it used, JSON (`usage`: the sums)
  hook                JSON of the job's webhook: `url`, `events`, and `secret` if it brought one
  unsettled           webhooks of the job that are neither delivered nor given up: it does not expire before they are
  files               JSON, file id → `jobs.file_refs.FileRef`: the input files, a large input among them
  gone                1: a tombstone; only `tenant` is left beside it, and of a job at the top of a tree `retried_by` and `retry_of`. That
                      one stays as long as the retry, which has taken over what was finished
  batch, batch_index  of an item: its batch, and its place there. It has no `expires`: it goes with the batch
  flow                1: a job of a tree, which has steps, is one or is the retry of one that had some. It has no ticket, see `tree:`
  parent, root, step  of a child: whose step it is, the job at the top of its tree, its key. It is in no `idx:` and no `dead:`,
                      and its `expires` is `tree`: it goes with its root, or with the retry of that. One made anew has `retry_of`, the
                      id of the one before it
  depth, stream       of a child: how far below its root; 1: its output goes to its parent's log too. Its `place` is that of its root
  kid                 of a child: its number among those of its parent, seven digits
  shown               of a child: 1: its parent's log has an event about it
  origin              of a child: its idempotency key; of a retried root: the first of the chain. `job.key` is made of it instead of the id
  kids                of a parent: children, sleeps and waits that were made; `ends:` has those of them that have ended
  wake_at, until      of a parent that waits: how many ends it waits for; ms when it is woken at the latest
  waits, slept        how often the attempt has waited; 1: it was let go, so the next attempt goes on and does not start
  asks                names of the open waits, spaces between
  epoch, again        grows with each retry, after which what failed is done again; the epoch of the latest retry by a caller
  ran                 ms that its code had run when it was let go; gone when it begins again
  kids_usage          of a child: JSON sum of the usage of its ended children, with theirs
  limits, tree, tree_usage   of a root: JSON of its model's limits, since its first step; how many jobs were made below it; JSON sum of what
                      those of them have used that have ended
  signals             how many signals it has, names that nobody waits for among them
  reaped, buried      how far reap.lua and bury.lua are in the journal
steps:<parent>      hash, as the record. The journal of a parent: step key → entry; `mark` is the runner's, `at` ms:
                      `c <child> <epoch> <at> <mark>` a child; `d <epoch> <at> <mark> <JSON or @ref>` a result that the parent made itself,
                      or the id of a detached job; `f <epoch> <at> <mark> <failure JSON>`; `b <epoch> <at> <mark> <attempt>` begun, of what
                      is done once; `t <due> <at> <mark>` a sleep; `w <due> <at> <mark> <JSON ask, schema>` a wait, under `s:<name>`
  v:<name>            JSON of a signal; `!<epoch>`: the wait for it was over first
  x:<key>             epoch in which the await of that step was given up
  u:<key>             epoch in which the step was not used
ends:<parent>       list, as the record. Keys of its children, sleeps and waits in the order in which they ended
timers:<parent>     zset, as the record. Keys of its open sleeps and waits → ms when they are over
ev:<id>             list, as the record. The event log; element i is event seq base+i+2 (event 1, `queued`, is rendered from the record),
                    each `attempt at type data`
idem:<tenant>:<key> string, as its record or tombstone. `<job id> <fingerprint>`
idx:<tenant>        zset, as the records. Job id → created ms: the listing
wait:<queue>.<model>      zset. Waiting ids → (9 − priority)·10¹³ + queued ms: depth, position, oldest age
<queue>.<model>[:<n>]     list. The lane's tickets (Celery messages); n = 9 − priority, absent for 0; LPUSH in, RPOP out
tree:<queue>.<model>      zset. Waiting jobs of trees, which have no tickets: `<kid><id>` → place as in `wait:`, that of their root
suspects:<queue>.<model>  hash. Waiting ids that are suspects → group
held:<group>        string, one lease. The worker that runs this group of suspects, or gets a runner ready for it
wake:<queue>.<model>      list of at most one element. Workers that wait for the lane block on it
wake:@<worker>            list, one lease. Interrupts the wait of one worker (its identity)
mark                zset. `<lane>:<n>` → queued ms of the latest job claimed by a ticket from that list's tail: all before it were popped
doubt               zset. Id → ms when its ticket was popped and not yet claimed
lease               zset. Id → ms when the claim runs out
due                 zset. Id → ms when a delayed or retrying job is to be queued, or a parent that waits is to be woken
deadline            zset. Id → ms when a job that waits expires (`start_within` before its first start, `total_timeout`)
reap                zset. Parent → ms since when its open children are to be stopped
bury                zset. Erased job that had steps → ms when they are to be erased; or one whose data are gone (`retain_for` 0): theirs too
expire              zset. Finished id → ms when the record goes, or of an item or a step, when somebody is to look whether it goes
dead:<tenant>       zset. Failed id → finished ms: the dead letters, until retried or expired
lanes               set. Lanes that ever had a job
stats               hash. `<model>:<what>` → how many jobs have ended so
times               hash. `<model>:<what>` → sum over attempts in microseconds; what = queue, wait, run, store
workers             zset. Worker, by its identity → ms when its entry runs out
worker:<worker>     string, 3 leases. JSON: what the worker runs, and its name
name:<name>         string, 3 leases. `<worker> <until ms>`: which worker has the name; after that time another may take it
trouble             hash. Part, such as `worker-1f3a9c@host` → `<until ms> <text>`: what keeps dying, for /readyz
swept               string. Ms of the last sweep: a store that was away expires nothing at first
mark:<process>      string, an hour. `<n> <ms>`: its latest mark: that the data are older than it was shows by it (`store.losses`)
marked              string. Ms of the latest mark of any process that has left one before
lost                hash, a day. The latest loss: `store.losses.Loss`
amnesty             string, one lease. Ms until which no lease expires

batch:<id>          hash, until its expiry, then a tombstone of 7 days. The record: `store.batches.FIELDS`, and these fields beside them:
  queue               of the model, when the batch was accepted
  key                 of the file in the blob store that holds the inputs, a line each
  within              ms in which an item must start, as `start_within` of its policy or `total_timeout` says
  offset              bytes of that file that were fed, that is: whose items are jobs
  left                items that have not ended; at 0 the batch has
  stopped             of a batch that is to stop: the items before it were canceled
  idem, unsettled, gone   as of a job
batches:<tenant>    zset, as the records. Batch → created ms: the listing
batch-due           zset. Batch → ms when somebody is to go on feeding or canceling it; of one that has ended, when it goes; of one that was
                    never accepted, when the files that were kept for it go

hooks:<tenant>      hash. Endpoint id → JSON: `url, events, description, created, secret, previous, previous_until, disabled_reason`
hooksecret:<tenant> string. JSON `secret, previous, previous_until`: signs the webhooks of jobs that bring no secret
delivery:<message>  hash, until the tombstone's time after its end. One webhook to one receiver: tenant, job, type, url, created, data, and
  endpoint            '' = the job's own webhook
  status              pending, delivered or failed; then `finished` (ms), and `reason` why it was given up
  tries, base         the number of the latest try, a fence that only grows; how many of them the schedule does not count
  nonce               of the claim of that try; both are its fence (`jobs.fence`)
  told, try:<n>       the fence of the latest try whose outcome was reported; that outcome, JSON
delivery-due        zset. Message → ms when it is tried next, or, once it has an end, when its entry goes
deliveries:<tenant> zset, as the deliveries. Message → created ms: the ledger
sent:<id>           set, as the record or tombstone. Messages about the job
taken:<nonce>       list, one lease. Messages that a claim has taken: a claim sent twice gets the same ones
file:<id>           hash, until it is gone and no job needs it, then a tombstone of 7 days. A stored file: `tenant`, `created` ms, and
  ref                 JSON of `jobs.file_refs.FileRef`
  key                 of the bytes, as in `ref`; there as long as the bytes are
  expires             ms when it goes; without the field it lives as long as a job needs it
  gone                nonce of its deletion, or 1: nobody sees it any more. The bytes, and the record, stay while a job needs them
needs:<file>        set, as the bytes. Jobs and batches that need the file
uses:<job>          set, until the job is erased, or the batch is fed. Files that it needs: of its input, and those that it has made
let-go              zset. Erased job → ms: its `uses:` were too many to be released at once
file-expire         zset. File id → ms when it goes, or, without a time of its own, when a job must have come to need it
trash               zset. Key in the blob store → ms: bytes that nobody needs, to be removed there
filesecret          string. 32 random bytes that sign the URLs of files
file-sweep          string, one interval. Nonce of the process that sweeps the blob store
process:<identity>  string, 3 leases. JSON: what a process announces: role, host, pid, version, formats
processes           zset. Process, by its identity → ms when its entry runs out
outdated            zset, one day, until the format is raised. Name of a worker that announces no formats (0.1.0) → ms when it was last seen
about               hash. `format` of the data (`store.formats`), `id` of this store, `born` ms, `version` that made it or raised its format
  quiet               `<ms> <format>`: since when nobody has been seen that cannot work on this newer one
nothing             never written: see `pass_when_full` in lib.lua

Channels: `note:<id>` (something about the job or batch changed; `jobs.events.carried` reads those that bring events), `ctl:<worker>`
(commands to a worker: `cancel <id>`, and `step <id>`: the parent has what it waits for), `hooks` (webhooks are due), `hooks-announced`
(never; see `silent_apis` in lib.lua).
"""
