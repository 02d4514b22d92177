-- In front of every script stands what it names of the lib*.lua, and what that names; a definition begins its line with `local` and what is inside
-- one does not. Placeholders between @ signs are filled in once, when the scripts are loaded (store/scripts.py).
-- Time is the server's; a worker's clock never counts. All times are milliseconds since the epoch.
local P = '@PREFIX@'
-- The format that the data have now, which writers write (store/formats.py). A process that hears of a raise loads the scripts again.
local FORMAT = @FORMAT@
-- Span of one priority in the score of `wait:`; milliseconds since the epoch stay below it until the year 2286.
local SPAN = 1e13
local TERMINAL = {succeeded = true, failed = true, canceled = true, expired = true}

-- Asked once in each run.
local clock
local function now()
  if not clock then
    local t = redis.call('TIME')
    clock = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return clock
end

-- Order inside a lane needs more than milliseconds; with nine spans in front of it a double still distinguishes 0.01 ms.
local function instant()
  local t = redis.call('TIME')
  return t[1] * 1000 + t[2] / 1000
end

-- The listing's score: jobs of one millisecond keep their order too.
local function moment(at) return string.format('%.3f', at or instant()) end

local function place_in_lane(priority, at) return string.format('%.2f', (9 - priority) * SPAN + at) end

local function int(n) return string.format('%.0f', n) end
local function record(id) return P .. 'job:' .. id end

-- The fields of a job's record that readers get; the output is left out before it is read, by asking for a field that no record has.
local function fields_of(k, without_output)
  local output = without_output and 'nothing' or 'output'
  local r = redis.call('HMGET', k, @FIELDS@)
  -- The last one says whether the job has to do with others.
  if r[#r] then
    for _, value in ipairs(redis.call('HMGET', k, @TREE_FIELDS@)) do r[#r + 1] = value end
  end
  return r
end

local function note(id, what) redis.call('PUBLISH', P .. 'note:' .. id, what) end

-- Which of these keys there are, by their numbers. Sixteen that are not there cost one command.
local function present(keys)
  local found = {}
  for first = 1, #keys, 16 do
    local last = math.min(first + 15, #keys)
    local n = redis.call('EXISTS', unpack(keys, first, last))
    for i = first, n > 0 and last or 0 do
      if n == last - first + 1 or redis.call('EXISTS', keys[i]) == 1 then found[#found + 1] = i end
    end
  end
  return found
end

-- Ids in a set of times whose time has come, `most` at most.
local function overdue(set, t, most) return redis.call('ZRANGEBYSCORE', P .. set, '-inf', int(t), 'LIMIT', 0, most) end

-- A piece of a listing, newest first: {id, score, …}, `n` of them below the one that had this score and id ('' = from the newest).
local function page(index, score, id, n)
  local start = 0
  if id ~= '' then
    local rank = redis.call('ZREVRANK', index, id)
    -- It may have been deleted since: go on below its time.
    start = rank and rank + 1 or redis.call('ZCOUNT', index, '(' .. score, '+inf')
  end
  return redis.call('ZREVRANGE', index, start, start + n - 1, 'WITHSCORES')
end

-- Let what was accepted go on in a full store: Redis refuses commands that need memory only until a script has made a write of another kind.
-- New jobs and large values are refused; claims, heartbeats and ends are not, or nothing could ever drain.
local SMALL = 4096
local function pass_when_full() redis.call('DEL', P .. 'nothing') end

-- What a script of many jobs writes to keys that they share, gathered while `together` works: a command for each key, not for each job.
local gathered

local function gather(command, key, ...)
  local key_and_command = command .. ' ' .. key
  local arguments = gathered[key_and_command] or {command, key}
  gathered[key_and_command] = arguments
  for _, argument in ipairs({...}) do arguments[#arguments + 1] = argument end
end

local function zadd(key, score, id)
  if gathered then gather('ZADD', key, score, id) else redis.call('ZADD', key, score, id) end
end

local function zrem(key, id)
  if gathered then gather('ZREM', key, id) else redis.call('ZREM', key, id) end
end

-- Add a whole number to a counter of `stats`, or to a sum of `times`, which are microseconds.
local function count(hash, model, what, by)
  if not gathered then return redis.call('HINCRBY', P .. hash, model .. ':' .. what, by) end
  local name = hash .. ' ' .. model .. ':' .. what
  local all = gathered[name]
  if all then all[4] = all[4] + by else gathered[name] = {'HINCRBY', P .. hash, model .. ':' .. what, by} end
end

-- Does `work(first)`, `work(first + step)`, … up to `last`; returns what they return. One that fails is answered with its error and does not keep the others
-- from their turn; what it has gathered is written all the same. One that is alone fails as ever.
local function together(first, last, step, work)
  if first + step > last then return {work(first)} end
  local out = {}
  gathered = {}
  for i = first, last, step do
    local _, answer = pcall(work, i)
    out[#out + 1] = type(answer) == 'table' and answer or {err = tostring(answer)}
  end
  for _, arguments in pairs(gathered) do redis.call(unpack(arguments)) end
  gathered = nil
  return out
end

-- An event as the log holds it; `data` is JSON text.
local function entry(attempt, t, kind, data) return attempt .. ' ' .. int(t) .. ' ' .. kind .. ' ' .. data end

-- Entries at the end of the log. Returns how many it holds now.
local function log(id, entries)
  local size, count = 0, 0
  for _, e in ipairs(entries) do
    count, size = redis.call('RPUSH', P .. 'ev:' .. id, e), size + #e
  end
  redis.call('HINCRBY', record(id), 'log_bytes', size)
  return count
end

local function event(id, attempt, t, kind, data) log(id, {entry(attempt, t, kind, data)}) end

-- Workers go by their identities. A name is for people, and one live worker has it. Returns the identity of the latest that had it, and until when (ms).
local function holder(name) return string.match(redis.call('GET', P .. 'name:' .. name) or '', '^(%S+) (%d+)$') end

-- A worker is gone: it is listed no longer, and its name is free.
local function forget(worker)
  local entry = redis.call('GET', P .. 'worker:' .. worker)
  local name = entry and cjson.decode(entry).name
  -- It is ours while the entry is there: whoever takes it removes that.
  if name then redis.call('DEL', P .. 'name:' .. name) end
  redis.call('DEL', P .. 'worker:' .. worker)
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('DEL', P .. 'process:' .. worker)
  redis.call('ZREM', P .. 'processes', worker)
end

-- A new record. `due`: when it is to be queued, false = now. `...`: further fields, name, value, …
local function create(id, tenant, model, queue, priority, input, stamp, due, ...)
  redis.call('HSET', record(id), 'tenant', tenant, 'model', model, 'queue', queue, 'priority', priority, 'input', input, 'version', 1, 'attempt', 0,
    'created', stamp, 'status', due and 'scheduled' or 'queued', due and 'due' or 'queued', due or stamp, ...)
end

-- The name of an idempotency key; nil without one. And what is answered to a request whose key is bound already (`print`: its fingerprint); nil: it is free.
local function key_of(tenant, key) return key ~= '' and P .. 'idem:' .. tenant .. ':' .. key or nil end
local function repeated(bound, print)
  local held = bound and redis.call('GET', bound)
  if not held then return nil end
  local other, theirs = string.match(held, '^(%S+) (%S+)$')
  return {theirs == print and 'replay' or 'reused', other}
end

-- Seconds that a policy (JSON of jobs/policy.py) has under a name, nil = no limit. Parsing all of it costs more than many a script.
local function seconds(policy, name)
  local _, last = string.find(policy, '"' .. name .. '":', 1, true)
  return last and tonumber(string.match(policy, '^ *(%d[^,}]*)', last + 1))
end

-- Ms after its submit by which a job must have started: `start_within` counts from the end of its delay, `total_timeout` from the submit. nil = no limit.
local function start_limit(policy, delay)
  -- Most jobs have neither, and then these stand beside each other.
  if string.find(policy, '"start_within":null,"total_timeout":null', 1, true) then return nil end
  local start, total = seconds(policy, 'start_within'), seconds(policy, 'total_timeout')
  return start and math.min(delay + start * 1000, (total or math.huge) * 1000) or total and total * 1000
end

-- A failure built by a script, in the form of jobs/failure.py.
local function failure(code, detail, attempt)
  return '{"code":"' .. code .. '","detail":"' .. detail .. '","attempt":' .. attempt .. '}'
end

-- How attempt `n` ended, as the field `z:<n>`.
local function ending(t, outcome, err) return int(t) .. ' ' .. outcome .. ' ' .. (err or '') end

local function end_attempt(k, attempt, t, outcome, err)
  if tonumber(attempt) > 0 then redis.call('HSET', k, 'z:' .. attempt, ending(t, outcome, err)) end
end

-- What a job has used with what an attempt has used. A number that is none any more (infinite) is left out.
local function sum_of(before, usage)
  if not before then return usage end
  local sum = cjson.decode(before)
  for name, n in pairs(cjson.decode(usage)) do
    local total = type(n) == 'number' and (tonumber(sum[name]) or 0) + n
    if total and math.abs(total) < math.huge then sum[name] = total end
  end
  return cjson.encode(sum)
end

-- Add the times of an attempt that was claimed at `started` and ends at `t` to those of its model: in its code, waiting for that, and the rest but what it waited
-- for its steps, in which its outcome was stored. What a worker says of an attempt (settle.py) begins with them, unless its code never ran.
local function count_times(model, started, t, usage)
  local run, wait = string.match(usage, '^{"run_s":([%d.e+-]+),"wait_s":([%d.e+-]+)')
  if not run then return end
  local steps = string.match(usage, '^{"run_s":[^,]+,"wait_s":[^,]+,"steps_s":([%d.e+-]+)') or 0
  run, wait, steps = math.floor(run * 1e6 + 0.5), math.floor(wait * 1e6 + 0.5), math.floor(steps * 1e6 + 0.5)
  count('times', model, 'run', run)
  count('times', model, 'wait', wait)
  count('times', model, 'store', math.max(0, (t - started) * 1000 - run - wait - steps))
end

-- What an attempt has used, for its own row, and added to what the job has used so far.
local function add_usage(k, attempt, t, usage)
  if usage == '' then return end
  local r = redis.call('HMGET', k, 'usage', 'model', 'started')
  redis.call('HSET', k, 'u:' .. attempt, usage, 'usage', sum_of(r[1], usage))
  count_times(r[2], r[3], t, usage)
end

local function delivery(message) return P .. 'delivery:' .. message end

-- One message, due now. Its id is the `webhook-id` of every try. `job`: '' = a test.
local function post(message, t, tenant, job, kind, endpoint, url, data)
  redis.call('HSET', delivery(message), 'tenant', tenant, 'job', job, 'type', kind, 'endpoint', endpoint, 'url', url, 'created', int(t),
    'status', 'pending', 'tries', 0, 'base', 0, 'data', data)
  redis.call('ZADD', P .. 'delivery-due', int(t), message)
  redis.call('ZADD', P .. 'deliveries:' .. tenant, moment(), message)
  redis.call('PUBLISH', P .. 'hooks', 'due')
end

local function wants(hook, kind)
  for _, each in ipairs(hook.events) do
    if each == kind then return true end
  end
  return false
end

-- The endpoints of a tenant, read once by a script of many jobs.
local known = {}
local function endpoints_of(tenant)
  if not known[tenant] then
    local all = {}
    local r = redis.call('HGETALL', P .. 'hooks:' .. tenant)
    for i = 1, #r, 2 do
      local endpoint = cjson.decode(r[i + 1])
      if not endpoint.disabled_reason then all[#all + 1] = {id = r[i], url = endpoint.url, events = endpoint.events} end
    end
    known[tenant] = all
  end
  return known[tenant]
end

-- Who gets webhooks about a change: the job's own webhook, and the tenant's endpoints. {{id ('' = the job's own), url}, …}. `hook`: of the record.
local function listeners(tenant, hook, kind)
  local found = {}
  local own = hook and cjson.decode(hook)
  if own and wants(own, kind) then found[1] = {'', own.url} end
  for _, endpoint in ipairs(endpoints_of(tenant)) do
    if wants(endpoint, kind) then found[#found + 1] = {endpoint.id, endpoint.url} end
  end
  return found
end

-- The outbox: the script that changes a job posts the webhooks about it. `data`: JSON of what cannot be read from the record later ('' = nothing).
-- `nonce`: of the claim, false = it is about none. The same claim's message has the same id, also when the store forgot that it was posted and the claim's
-- worker sends its write again; what another claim with the same number has to say is another message.
local function notify(to, id, k, t, tenant, attempt, nonce, kind, data)
  local about = id .. ' ' .. kind .. ' ' .. attempt .. ' ' .. (nonce and nonce .. ' ' or '')
  for _, each in ipairs(to) do
    local message = 'msg_' .. string.sub(redis.sha1hex(about .. each[1]), 1, 32)
    post(message, t, tenant, id, kind, each[1], each[2], data)
    redis.call('SADD', P .. 'sent:' .. id, message)
    redis.call('HINCRBY', k, 'unsettled', 1)
  end
end

-- From `t` on an ended job is kept as its policy says. Returns what the record says of that, `expires`.
-- retain_for 0: the output stays a minute for those who wait for it; expire.lua then keeps status and error for a day.
local function retain(id, t, policy)
  local keep = seconds(policy, 'retain_for') * 1000
  zadd(P .. 'expire', int(t + (keep > 0 and keep or 60000)), id)
  return int(t + (keep > 0 and keep or 86400000))
end

local function is_batch(id) return string.sub(id, 1, 6) == 'batch_' end
local function batch_key(id) return P .. 'batch:' .. id end

-- What a message is about: a job, or a batch.
local function subject(id) return is_batch(id) and batch_key(id) or record(id) end

-- The job of the item `index` (from 0); `clock.item_id` makes the same one.
local function item(batch, index) return 'job_' .. string.sub(batch, 7, 18) .. string.sub(redis.sha1hex(batch .. ' ' .. int(index)), 1, 20) end

-- From `t` on an ended batch is kept as its policy says, a minute at least: its results are read after its end.
local function retain_batch(id, b, t)
  local expires = int(t + math.max(seconds(redis.call('HGET', b, 'policy'), 'retain_for') * 1000, 60000))
  redis.call('HSET', b, 'expires', expires)
  redis.call('ZADD', P .. 'batch-due', expires, id)
end

-- `n` items of a batch have ended so; the last one ends the batch. A job counts in the script that ended it (`finalize`), and so exactly once.
local function count_items(id, t, status, n) -- lazy
  local b = batch_key(id)
  redis.call('HINCRBY', b, status, int(n))
  if redis.call('HINCRBY', b, 'left', int(-n)) > 0 then return end
  local r = redis.call('HMGET', b, 'tenant', 'hook', 'canceling')
  redis.call('HSET', b, 'status', r[3] and 'canceled' or 'completed', 'finished', int(t))
  redis.call('ZREM', P .. 'batch-due', id)
  local to = listeners(r[1], r[2], 'batch.completed')
  notify(to, id, b, t, r[1], 0, false, 'batch.completed', '')
  if #to == 0 then retain_batch(id, b, t) end
  note(id, 'done')
end

-- A delivery has an end: `delivered` or `failed`. Its entry goes after `tombstone` ms, by claim_deliveries.lua.
local function settle(message, d, t, status, reason, tombstone)
  redis.call('HSET', d, 'status', status, 'finished', int(t))
  if reason then redis.call('HSET', d, 'reason', reason) end
  redis.call('ZADD', P .. 'delivery-due', int(t + tombstone), message)
  local id = redis.call('HGET', d, 'job')
  if not id or id == '' then return end
  local k = subject(id)
  local r = redis.call('HMGET', k, 'status', 'gone', 'unsettled', 'policy', 'batch')
  if not r[1] or r[2] or not r[3] then return end
  -- The result is kept until it was delivered, or given up.
  if redis.call('HINCRBY', k, 'unsettled', -1) > 0 then return end
  if is_batch(id) then
    retain_batch(id, k, t)
  elseif TERMINAL[r[1]] then
    local expires = retain(id, t, r[4])
    if not r[5] then redis.call('HSET', k, 'expires', expires) end
  end
end
