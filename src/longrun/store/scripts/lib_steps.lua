-- The third part of the library (see lib.lua): the steps of a parent, see store/steps.py. A job that has steps, or is one, has the field `flow`.

local function journal_of(id) return P .. 'steps:' .. id end
local function ends_of(id) return P .. 'ends:' .. id end
local function timers_of(id) return P .. 'timers:' .. id end

-- How many of a parent's steps its log shows, and how many waits of each attempt; and how many bytes of results one reply holds, or one more result.
local SHOWN, ROOM = 200, 1000000

-- Whether the claim with this fence has the job: also while it waits, unlike `owned`. Returns the status too, and the attempt.
local function has_claim(k, fence)
  local r = redis.call('HMGET', k, 'attempt', 'nonce', 'status')
  local attempt, nonce, status = r[1], r[2], r[3]
  return attempt and nonce and attempt .. '/' .. nonce == fence and (status == 'running' or status == 'waiting' or status == 'canceling'), status, attempt
end

-- The event of a step, as the parent's log holds it.
local function step_entry(attempt, t, key, id, model, status)
  return entry(attempt, t, 'step', '{"key":' .. cjson.encode(key) .. ',"id":"' .. id .. '","model":' .. cjson.encode(model) .. ',"status":"' .. status .. '"}')
end

-- Whether what this job makes is nobody's: it has ended or is to stop, or one has that it is a step of, to the top.
local function cannot_be_joined(id)
  while id do
    local r = redis.call('HMGET', record(id), 'status', 'parent')
    if not r[1] or r[1] == 'canceling' or TERMINAL[r[1]] then return true end
    id = r[2]
  end
  return false
end

-- A parent that sleeps goes on: it is queued again.
local function wake_up(id, k)
  redis.call('HDEL', k, 'wake_at', 'until')
  redis.call('ZREM', P .. 'due', id)
  enqueue(id, k, true)
  note(id, 'queued')
end

-- A parent that waits in its worker runs again.
local function go_on(id, k)
  redis.call('HSET', k, 'status', 'running')
  redis.call('HDEL', k, 'wake_at', 'until')
  redis.call('ZREM', P .. 'due', id)
  redis.call('HINCRBY', k, 'version', 1)
end

-- Whether a parent that waits has what it waits for. `w`: its `wake_at` and `until`.
local function has_come(id, t, w) -- lazy
  return redis.call('LLEN', ends_of(id)) >= tonumber(w[1] or 0) or (w[2] and tonumber(w[2]) <= t)
end

-- A step of `parent` has come to an end: wake it when it has what it waits for. Once for each end: the caller is the one script that made it.
local function step_ended(parent, key)
  local pk = record(parent)
  local p = redis.call('HMGET', pk, 'status', 'wake_at', 'worker')
  if not p[1] or TERMINAL[p[1]] then return end
  local ended = redis.call('RPUSH', ends_of(parent), key)
  if not p[2] or ended < tonumber(p[2]) then return end
  if p[1] == 'waiting' then
    redis.call('PUBLISH', P .. 'ctl:' .. p[3], 'step ' .. parent)
  elseif p[1] == 'asleep' then
    wake_up(parent, pk)
  end
end

-- The names of the open waits of a parent, for those who read its record.
local function show_asks(id, k)
  local names = {}
  for _, key in ipairs(redis.call('ZRANGE', timers_of(id), 0, -1)) do
    if string.sub(key, 1, 2) == 's:' then names[#names + 1] = string.sub(key, 3) end
  end
  if #names > 0 then redis.call('HSET', k, 'asks', table.concat(names, ' ')) else redis.call('HDEL', k, 'asks') end
end

-- The sleeps and waits of a parent whose time has come are ended. A wait has no value from then on: `v:<name>` is `!<epoch>`.
local function close_timers(id, k, t, epoch)
  local over, waits = redis.call('ZRANGEBYSCORE', timers_of(id), '-inf', int(t), 'LIMIT', 0, 100), false
  if #over == 0 then return end
  redis.call('ZREM', timers_of(id), unpack(over))
  redis.call('RPUSH', ends_of(id), unpack(over))
  for _, key in ipairs(over) do
    if string.sub(key, 1, 2) == 's:' then
      redis.call('HSETNX', journal_of(id), 'v:' .. string.sub(key, 3), '!' .. epoch)
      waits = true
    end
  end
  if waits then show_asks(id, k) end
end

-- All that a job has used, with what is below it.
local function used(own, below) return own and below and sum_of(own, below) or own or below or '' end

-- What became of a step with this entry in the journal. Returns state, data, usage, id of the child, due.
local function result_of(journal, key, e, t)
  local kind, rest = string.match(e, '^(%a) (.*)$')
  if kind == 'c' then
    local id = string.match(rest, '^%S+')
    local c = redis.call('HMGET', record(id), 'status', 'output', 'error', 'usage', 'kids_usage')
    if not c[1] or not TERMINAL[c[1]] then return 'pending', '', '', id, 0 end
    return c[1], c[1] == 'succeeded' and c[2] or c[3] or '', used(c[4], c[5]), id, 0
  elseif kind == 'd' or kind == 'f' then
    return kind == 'd' and 'succeeded' or 'failed', string.match(rest, '^%S+ %S+ %S+ (.*)$') or '', '', '', 0
  elseif kind == 't' or kind == 'w' then
    local due = tonumber(string.match(rest, '^%d+'))
    if kind == 't' then return due <= t and 'succeeded' or 'pending', due <= t and 'null' or '', '', '', due end
    local value = redis.call('HGET', journal, 'v:' .. string.sub(key, 3))
    if not value then return 'pending', '', '', '', due end
    if string.sub(value, 1, 1) == '!' then return 'failed', failure('wait-timeout', 'Nobody had answered in time.', 0), '', '', due end
    return 'succeeded', value, '', '', due
  end
  return 'pending', '', '', '', 0
end

-- Add what a child has used, with all below it, to its parent; and to those above that, as far as they ended before and have handed on what they knew.
local function add_to_parents(parent, root, usage)
  while parent ~= root do
    local k = record(parent)
    local r = redis.call('HMGET', k, 'status', 'kids_usage', 'parent')
    if not r[1] then return end
    redis.call('HSET', k, 'kids_usage', sum_of(r[2], usage))
    if not TERMINAL[r[1]] or not r[3] then return end
    parent = r[3]
  end
end

-- A child has ended: its parent gets its usage, an event and the end. `usage` goes to the root at once, where the budget of the tree is.
local function child_ended(id, k, t, status, model)
  local c = redis.call('HMGET', k, 'parent', 'root', 'step', 'usage', 'kids_usage', 'shown')
  local pk, rk = record(c[1]), record(c[2])
  local p = redis.call('HMGET', pk, 'status', 'attempt')
  if c[4] then
    local r = redis.call('HMGET', rk, 'status', 'tree_usage')
    if r[1] then redis.call('HSET', rk, 'tree_usage', sum_of(r[2], c[4])) end
  end
  if c[4] or c[5] then add_to_parents(c[1], c[2], used(c[4], c[5])) end
  if c[6] and p[1] and not TERMINAL[p[1]] then
    log(c[1], {step_entry(p[2], t, c[3], id, model, status)})
    note(c[1], 'events')
  end
  step_ended(c[1], c[3])
end

-- What an end leaves of the steps of a parent: those that are open are to be stopped, by reap.lua. A retry wants to know the timers.
local function leave_steps(id, k, t, kids)
  if tonumber(kids) > redis.call('LLEN', ends_of(id)) then redis.call('ZADD', P .. 'reap', int(t), id) end
  redis.call('HDEL', k, 'asks', 'wake_at', 'until', 'ran')
end

-- What the end of a job is to the tree that it is in.
local function end_in_tree(id, k, t, status, queue, model, parent, kids) -- lazy
  redis.call('ZREM', tree_of(queue .. '.' .. model), in_tree(id, redis.call('HGET', k, 'kid')))
  if kids then leave_steps(id, k, t, kids) end
  if not parent then return end
  -- What a step was given is of no more use when it succeeded, and grows with every turn of an agent.
  if status == 'succeeded' and redis.call('HSTRLEN', k, 'input') > SMALL then redis.call('HDEL', k, 'input') end
  child_ended(id, k, t, status, model)
end

-- What a job has journaled is that of the one too that is made anew in its place: what was finished is neither done nor paid again. Sleeps go on. Waits that are
-- open are asked again, with a time of their own; and what else had not ended belongs to the old job, and is stopped with it. `again`: a person wants it.
local function take_over(from, to, again)
  if redis.call('COPY', journal_of(from), journal_of(to)) == 0 then return end
  redis.call('COPY', ends_of(from), ends_of(to))
  redis.call('COPY', timers_of(from), timers_of(to))
  for _, key in ipairs(redis.call('ZRANGE', timers_of(to), 0, -1)) do
    if string.sub(key, 1, 2) == 's:' then
      redis.call('ZREM', timers_of(to), key)
      redis.call('HDEL', journal_of(to), key)
    end
  end
  local r = redis.call('HMGET', record(from), 'epoch', 'again', 'signals')
  local epoch = int((r[1] or 0) + 1)
  redis.call('HSET', record(to), 'epoch', epoch, 'again', again and epoch or r[2] or 0, 'signals', r[3] or 0,
    'kids', int(redis.call('LLEN', ends_of(to)) + redis.call('ZCARD', timers_of(to))))
end
