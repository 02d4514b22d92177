-- The fourth part of the library (see lib.lua): how jobs end or go back, what becomes of files, and how jobs begin that have some.

-- What `finalize` needs to know of a record.
local function before_end(k)
  return redis.call('HMGET', k, 'tenant', 'model', 'attempt', 'started', 'hook', 'status', 'queue', 'policy', 'version', 'unsettled', 'log_bytes', 'usage',
    'batch', 'nonce', 'flow')
end

-- The one way into a terminal state. Writes record, last event, webhooks, expiry, dead letter and the announcement together.
-- `more`: further fields of the record, {name, value, …}; `r`: what `before_end` says, if that was asked already.
local function finalize(id, k, t, status, output, err, more, r)
  r = r or before_end(k)
  local tenant, model, attempt, before, kind, nonce = r[1], r[2], r[3], r[6], 'job.' .. status, r[14]
  local parent, kids
  if r[15] then parent, kids = unpack(redis.call('HMGET', k, 'parent', 'kids')) end
  -- Of a step its parent is told, and no receiver.
  local last, to, f = entry(attempt, t, 'done', ''), parent and {} or listeners(tenant, r[5], kind), more or {}
  local function put(name, value) f[#f + 1], f[#f + 2] = name, value end
  put('status', status)
  put('finished', int(t))
  put('version', int((r[9] or 0) + 1))
  put('log_bytes', int((r[11] or 0) + #last))
  if output then put('output', output) end
  if err then put('error', err) end
  -- The first write, whichever it is, is refused by a full store when the output is large, and nothing has changed.
  local settled = #to == 0 and tonumber(r[10] or 0) == 0
  if settled then
    local expires = retain(id, t, r[8])
    -- An item has no time of its own: it goes with its batch, and a step with its root (expire.lua).
    if not r[13] and not parent then put('expires', expires) end
  end
  redis.call('HSET', k, unpack(f))
  notify(to, id, k, t, tenant, attempt, nonce, kind, '')
  if before == 'running' or before == 'canceling' then
    -- Its claim took it out of the sets of those that wait, and its last error from the record.
    zrem(P .. 'lease', id)
  elseif before == 'waiting' then
    zrem(P .. 'lease', id)
    redis.call('ZREM', P .. 'due', id)
  else
    for _, set in ipairs({'wait:' .. r[7] .. '.' .. model, 'due', 'deadline', 'doubt'}) do redis.call('ZREM', P .. set, id) end
    redis.call('HDEL', suspects_of(r[7] .. '.' .. model), id)
    redis.call('HDEL', k, 'due')
  end
  if status == 'failed' and not parent then zadd(P .. 'dead:' .. tenant, int(t), id) end
  count('stats', model, status, 1)
  redis.call('RPUSH', P .. 'ev:' .. id, last)
  note(id, 'done')
  if r[13] then count_items(r[13], t, status, 1) end
  if r[15] then end_in_tree(id, k, t, status, r[7], model, parent, kids) end
end

-- Ask a job that has not been asked yet, and has not ended, to stop. Returns the status after.
local function stop(id, k, t, status, attempt, worker)
  if status == 'running' or status == 'waiting' then
    redis.call('HSET', k, 'status', 'canceling')
    redis.call('HINCRBY', k, 'version', 1)
    event(id, attempt, t, 'canceling', '{}')
    note(id, 'canceling')
    if redis.call('HEXISTS', k, 'kids') == 1 then
      redis.call('ZREM', P .. 'due', id)
      redis.call('ZADD', P .. 'reap', int(t), id)
    end
    redis.call('PUBLISH', P .. 'ctl:' .. worker, 'cancel ' .. id)
    return 'canceling'
  end
  if status ~= 'canceling' and not TERMINAL[status] then
    finalize(id, k, t, 'canceled', nil, failure('canceled', status == 'asleep' and 'The job was canceled.' or 'The job was canceled before it ran.', attempt))
    return 'canceled'
  end
  return status
end

-- What a claim has to know of a job of a tree, and to do with it.
local function flow_of(id, k) -- lazy
  local r = redis.call('HMGET', k, 'epoch', 'again', 'origin', 'ran', 'parent', 'slept', 'kid')
  local text = {r[1] or '0', r[2] or '0', r[3] or '-', r[4] or '0', redis.call('EXISTS', journal_of(id)), r[5] and 1 or 0}

  return {
    text = table.concat(text, ' '),
    slept = r[6],
    -- A step, and a parent that was let go, start without a word to receivers.
    silent = r[5] or r[6],
    -- Nobody can join it.
    is_over = function() return r[5] and cannot_be_joined(r[5]) end,
    take = function(lane)
      redis.call('ZREM', tree_of(lane), in_tree(id, r[7]))
      redis.call('HDEL', k, 'slept', 'waits')
    end,
  }
end

-- Stop the child that this entry of a parent's journal names. One that a retry has taken over may be another's by now.
local function stop_step(parent, e, t)
  local child = string.match(e or '', '^c (%S+) ')
  local s = child and redis.call('HMGET', record(child), 'status', 'attempt', 'worker', 'parent')
  if s and s[1] and s[4] == parent then stop(child, record(child), t, s[1], s[2], s[3]) end
end

-- The end of a job that was asked to stop while it ran.
local function end_canceled(id, k, t, attempt)
  end_attempt(k, attempt, t, 'canceled')
  finalize(id, k, t, 'canceled', nil, failure('canceled', 'The job was canceled.', attempt))
  return 'canceled'
end

-- The end of a job whose worker or runner died, when it is not to run again.
local function fail(id, k, t, attempt, err)
  end_attempt(k, attempt, t, 'crashed', err)
  finalize(id, k, t, 'failed', nil, err)
  return 'failed'
end

-- A job that has run and waits again has `total_timeout` alone; `start_within` was for its first start.
local function limit_wait(id, k, policy)
  local total = seconds(policy, 'total_timeout')
  if total then redis.call('ZADD', P .. 'deadline', int(redis.call('HGET', k, 'created') + total * 1000), id) end
end

local function expire(id, k, t, attempt) -- lazy
  local why = tonumber(attempt) > 0 and 'The job had not ended within its total_timeout.' or 'The job did not start within its time limit.'
  finalize(id, k, t, 'expired', nil, failure('expired', why, attempt))
  return 'expired'
end

-- The end of a job that was to begin: it is too late for it, or nobody can join it any more. Returns the status after.
local function end_queued(id, k, t, attempt, late) -- lazy
  if late then return expire(id, k, t, attempt) end
  return stop(id, k, t, 'queued', attempt)
end

-- A parent that waits, and that nobody holds any more, sleeps until its steps have ended; nobody is blamed. Returns the status after.
local function sleep_on(id, k, t, attempt, policy)
  local w = redis.call('HMGET', k, 'wake_at', 'until')
  end_attempt(k, attempt, t, 'waited')
  redis.call('ZREM', P .. 'lease', id)
  redis.call('HDEL', k, 'nonce')
  redis.call('HSET', k, 'status', 'asleep', 'slept', 1)
  limit_wait(id, k, policy)
  if not has_come(id, t, w) then return 'asleep' end
  wake_up(id, k)
  return 'queued'
end

-- Whether one more crash would end a job: then its group of suspects bears its own name, and the number of crashes that led there.
local function at_its_last(id, group) return group and string.sub(group, 1, #id) == id end

-- Take a claimed job from its worker. mode: crash (spends the crash budget), suspect (crashed among others: free), release (handed back: free),
-- unstarted (claimed, but no user code ran: free). Canceling jobs end here; at_most_once jobs that started are never run again.
-- `group`: whom a suspect may run with from now on, nobody else (default: itself, so it runs alone).
local function hand_back(id, k, t, mode, err, group)
  local r = redis.call('HMGET', k, 'status', 'attempt', 'policy', 'suspect')
  local status, attempt, policy = r[1], r[2], cjson.decode(r[3])
  if status == 'canceling' then return end_canceled(id, k, t, attempt) end
  if policy.delivery == 'at_most_once' and mode ~= 'unstarted' then
    -- What is known of the end (signal, memory, worker) stays in the failure.
    local e = err and cjson.decode(err) or {detail = 'The worker was lost while the job ran.', attempt = tonumber(attempt)}
    e.code, e.detail = 'outcome-unknown', e.detail .. ' Whether its work was done is not known. It is not run again.'
    return fail(id, k, t, attempt, cjson.encode(e))
  end
  if status == 'waiting' then return sleep_on(id, k, t, attempt, r[3]) end
  if mode == 'crash' then
    -- What was counted of its running time is for one that goes on, and this one begins again.
    redis.call('HDEL', k, 'ran')
    local crashes = redis.call('HINCRBY', k, 'crashes', 1)
    -- Before a crash that would be its last, a job runs alone: nobody fails for what a neighbour did.
    -- How often it was a suspect before stays in the name of its group.
    if crashes >= policy.max_crashes - 1 then redis.call('HSET', k, 'suspect', id .. (string.match(r[4] or '', '%.%d+$') or '')) end
    if crashes >= policy.max_crashes then
      err = err or failure('worker-lost', 'The worker or its runner died ' .. crashes .. ' times while the job ran.', attempt)
      return fail(id, k, t, attempt, err)
    end
  elseif mode == 'suspect' then
    redis.call('HSET', k, 'suspect', group or id)
  else
    redis.call('HINCRBY', k, 'releases', 1)
  end
  end_attempt(k, attempt, t, (mode == 'release' or mode == 'unstarted') and 'released' or 'crashed', err)
  redis.call('ZREM', P .. 'lease', id)
  redis.call('HDEL', k, 'nonce')
  limit_wait(id, k, r[3])
  enqueue(id, k, true)
  note(id, 'queued')
  return 'queued'
end

-- How often a job that one more crash would end is not charged because others ran in the same worker. It must come to an end.
local MOST_SPARED = 4

-- Take a job from a worker that is lost, and add its id and its status after that to `out`.
local function take_back(id, k, t, attempt, out)
  local worker = cjson.decode(redis.call('HGET', k, 'a:' .. attempt)).worker
  local r = redis.call('HMGET', k, 'suspect', 'beside')
  local mode, group = 'crash', nil
  if r[2] and at_its_last(id, r[1]) then
    local times = tonumber(string.match(r[1], '%.(%d+)$') or 1)
    if times <= MOST_SPARED then mode, group = 'suspect', id .. '.' .. int(times + 1) end
  end
  local err = failure('worker-lost', 'The worker that ran the job was lost: ' .. string.gsub(worker, '[^%w%.@_:-]', '?') .. '.', attempt)
  out[#out + 1], out[#out + 2] = id, hand_back(id, k, t, mode, err, group)
end

-- Whether the claim with this fence (`<attempt>/<nonce>`, see jobs/fence.py) still has the job: asked in front of every write of a worker. The number alone
-- is no fence: a store that has lost its last second gives it again. Returns also the status, and the number of the attempt that the job is at.
local function owned(attempt, nonce, status, fence)
  return attempt and nonce and attempt .. '/' .. nonce == fence and (status == 'running' or status == 'canceling'), status, attempt
end

local function owns(k, fence)
  local r = redis.call('HMGET', k, 'attempt', 'nonce', 'status')
  return owned(r[1], r[2], r[3], fence)
end

-- How the attempt that this claim began has ended: a write that comes again gets its own answer by that. nil: it has not, or it is an attempt of another claim.
local function own_end(k, fence)
  local attempt = string.match(fence, '^[^/]*')
  local r = redis.call('HMGET', k, 'a:' .. attempt, 'z:' .. attempt)
  if not r[1] or not r[2] or attempt .. '/' .. (cjson.decode(r[1]).nonce or '') ~= fence then return nil end
  return string.match(r[2], '^%d+ (%a+)')
end

local function file(id) return P .. 'file:' .. id end
local function needed(id) return redis.call('EXISTS', P .. 'needs:' .. id) == 1 end

-- How many files one script releases, and how many an attempt may make: a thousand, and its output. What was made before it does not count.
local FILES_AT_ONCE, MOST_MADE = 100, 1001

local function bind_file(id, job)
  redis.call('SADD', P .. 'needs:' .. id, job)
  redis.call('SADD', P .. 'uses:' .. job, id)
end

-- Remove a file that was deleted and that nobody needs: its bytes go to the trash, its record becomes a tombstone.
local function drop_file(id, t, tombstone)
  local k = file(id)
  local r = redis.call('HMGET', k, 'tenant', 'key', 'gone')
  redis.call('ZADD', P .. 'trash', int(t), r[2])
  redis.call('ZREM', P .. 'file-expire', id)
  redis.call('DEL', k)
  if tonumber(tombstone) > 0 then
    redis.call('HSET', k, 'tenant', r[1], 'gone', r[3] or '1')
    redis.call('PEXPIRE', k, tombstone)
  end
end

-- Hide a file from now on. Its bytes stay until no job needs them. `why`: the value of `gone`.
local function hide_file(id, t, tombstone, why)
  redis.call('HSET', file(id), 'gone', why)
  redis.call('ZREM', P .. 'file-expire', id)
  if not needed(id) then drop_file(id, t, tombstone) end
end

-- Release up to `most` files of a job that does not need them any more; expire_files.lua does the rest. Returns how many.
local function release_files(job, t, tombstone, most)
  local uses = P .. 'uses:' .. job
  local gone = most > 0 and redis.call('SPOP', uses, int(most)) or {}
  for _, id in ipairs(gone) do
    redis.call('SREM', P .. 'needs:' .. id, job)
    local r = redis.call('HMGET', file(id), 'key', 'gone', 'expires')
    -- A file with a time of its own lives on, whoever needed it.
    if r[1] and (r[2] or not r[3]) and not needed(id) then drop_file(id, t, tombstone) end
  end
  if redis.call('EXISTS', uses) == 1 then
    redis.call('ZADD', P .. 'let-go', 'NX', int(t), job)
  else
    redis.call('ZREM', P .. 'let-go', job)
  end
  return #gone
end

-- Put a tombstone in the place of the record of a job or batch. Returns whose it was, and what is to be known of one that has to do with others.
local function leave_tombstone(id, k, index, tombstone)
  local r = redis.call('HMGET', k, 'tenant', 'idem', 'flow')
  local flow = r[3] and redis.call('HMGET', k, 'root', 'retried_by', 'retry_of')
  redis.call('DEL', k, P .. 'ev:' .. id)
  redis.call('HSET', k, 'gone', 1, 'tenant', r[1])
  redis.call('PEXPIRE', k, tombstone)
  redis.call('PEXPIRE', P .. 'sent:' .. id, tombstone)
  if r[2] then redis.call('PEXPIRE', r[2], tombstone) end
  redis.call('ZREM', P .. index .. ':' .. r[1], id)
  note(id, 'gone')
  return r[1], flow
end

-- A job that had to do with others went: bury.lua sees to what it has made. The tombstone of one at the top of a tree says which
-- job is the retry of it, and stays as long as that one: what was finished has been taken over.
local function leave_tree(id, k, t, tombstone, r) -- lazy
  if redis.call('EXISTS', journal_of(id)) == 1 then redis.call('ZADD', P .. 'bury', int(t), id) end
  if r[1] then return end
  if r[2] then redis.call('HSET', k, 'retried_by', r[2]) end
  if r[3] then redis.call('HSET', k, 'retry_of', r[3]) end
  if kept_root(r[2]) then return redis.call('PERSIST', k) end
  local before = r[3]
  while before do
    local b = redis.call('HMGET', record(before), 'gone', 'retry_of')
    if b[1] then redis.call('PEXPIRE', record(before), tombstone) end
    before = b[2]
  end
end

-- Erase a job. Returns how many of its files went, `most` at most.
local function erase(id, k, t, tombstone, most)
  local tenant, flow = leave_tombstone(id, k, 'idx', tombstone)
  if flow then leave_tree(id, k, t, tombstone, flow) end
  redis.call('ZREM', P .. 'dead:' .. tenant, id)
  redis.call('ZREM', P .. 'expire', id)
  return release_files(id, t, tombstone, most)
end

-- A new job: record, files, place in the listing, deadline; then it waits in its lane, or `delay` ms for that. `files`: ids. `...`: further fields.
local function new_job(id, tenant, model, queue, priority, input, policy, at, delay, files, ...)
  local t = math.floor(at)
  local stamp, wakes, limit = int(t), delay > 0 and int(t + delay), start_limit(policy, delay)
  -- The first write: with a full store it is refused, and nothing has changed.
  create(id, tenant, model, queue, priority, input, stamp, wakes, 'policy', policy, ...)
  for _, each in ipairs(files) do bind_file(each, id) end
  redis.call('ZADD', P .. 'idx:' .. tenant, moment(at), id)
  if limit then redis.call('ZADD', P .. 'deadline', int(t + limit), id) end
  if wakes then
    redis.call('ZADD', P .. 'due', wakes, id)
  else
    local lane, level = queue .. '.' .. model, 9 - priority
    redis.call('ZADD', P .. 'wait:' .. lane, place_in_lane(priority, at), id)
    push('LPUSH', lane, level, ticket(id, model, lane, level))
  end
  return stamp
end
