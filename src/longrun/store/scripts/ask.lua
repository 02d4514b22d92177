-- Steps of a parent: each is found in its journal or made; then, if it is to, the parent waits. One state change.
-- ARGV: parent, fence, ms when it is to be woken at the latest (0 = no such time), most depth, most jobs of the tree, its budget (JSON, '' = none), lane limit of
-- detached jobs, seen (-1 = what has ended now), need (0 = it goes on), then nine for each call (<= 100):
--   child|detached, key, mark, model, queue, input, policy, JSON of its files ('' = none), 1 (its output goes to the parent's log) or ''
--   sleep, key, mark, ms, and five times '' | wait, key, mark, ms, name, JSON to be shown, JSON of its schema, and twice ''
-- It waits until `need` more of its steps have ended than the `seen` it knew of, unless they have, or one of these has.
-- Returns {1, seen, waits (1|0), ms, then for each call: key, state, data, usage, id, due} | {0, status} (stale, or to stop) | {-1, code, detail} (refused: nothing
-- was made) | {-2} (data of before there were steps) | {-3} (a step that is to be made anew is still being stopped: ask again soon). Data that have no room are `more`. Sent twice: all is in the journal already, nothing is made again.
if FORMAT < 2 then return {-2} end
local parent, k, journal, seen, need = ARGV[1], record(ARGV[1]), journal_of(ARGV[1]), tonumber(ARGV[8]), tonumber(ARGV[9])
local mine, status, attempt = has_claim(k, ARGV[2])
if not mine or status == 'canceling' then return {0, status or 'gone'} end
local r = redis.call('HMGET', k, 'tenant', 'priority', 'root', 'depth', 'kids', 'epoch', 'again', 'place', 'queued', 'created', 'tags',
  'flow', 'origin', 'limits', 'parent')
local tenant, priority, root = r[1], r[2], r[3] or parent
if r[15] and cannot_be_joined(r[15]) then return {0, status} end
local at, epoch, again = instant(), r[6] or '0', tonumber(r[7] or 0)
local t, kids, depth, size = math.floor(at), tonumber(r[5] or 0), tonumber(r[4] or 0) + 1, 0
for i = 10, #ARGV, 9 do size = size + #ARGV[i + 5] end
-- The first write: a full store refuses it when the inputs are large, and nothing has changed.
if size <= SMALL then pass_when_full() end
local marked = {}
if not r[12] then marked = {'flow', 1} end
if root == parent and not r[14] then
  r[14] = '{"depth":' .. int(ARGV[4]) .. ',"tree":' .. int(ARGV[5]) .. (ARGV[6] ~= '' and ',"budget":' .. ARGV[6] or '') .. '}'
  marked[#marked + 1], marked[#marked + 2] = 'limits', r[14]
end

local still_stops = false

-- Whether the entry of a step counts. What had failed before the latest retry is done again; not so what may have been done, unless a person wants that.
-- An open child of the job that this one is the retry of is stopped with it, as is one that an earlier epoch gave up. Until it has ended nobody knows whether
-- it is to be done again: it may succeed.
local function counts(key, e)
  local kind, rest = string.match(e, '^(%a) (.*)$')
  if kind == 'w' then
    local value = redis.call('HGET', journal, 'v:' .. string.sub(key, 3))
    return not value or string.sub(value, 1, 1) ~= '!' or value == '!' .. epoch
  end
  if kind == 'f' then return string.match(rest, '^%d+') == epoch end
  if kind ~= 'c' then return true end
  local child, of = string.match(rest, '^(%S+) (%d+)')
  local c = redis.call('HMGET', record(child), 'status', 'parent', 'error')
  if not c[1] then return false end
  if not TERMINAL[c[1]] then
    if c[2] == parent and (of == epoch or c[1] ~= 'canceling') then return true end
    stop_step(c[2], e, t)
    if not TERMINAL[redis.call('HGET', record(child), 'status')] then still_stops = true end
    return false
  end
  return c[1] == 'succeeded' or of == epoch or (tonumber(of) >= again and string.find(c[3] or '', '"code":"outcome-unknown"', 1, true) ~= nil)
end

local keys, places, found, fresh, jobs = {}, {}, {}, {}, 0
for i = 10, #ARGV, 9 do keys[#keys + 1] = ARGV[i + 1] end
if #keys > 0 then found = redis.call('HMGET', journal, unpack(keys)) end
for n, key in ipairs(keys) do
  if not places[key] and not (found[n] and counts(key, found[n])) then
    fresh[#fresh + 1] = n
    if ARGV[9 * n + 1] == 'child' or ARGV[9 * n + 1] == 'detached' then jobs = jobs + 1 end
  end
  places[key] = true
end
if still_stops then return {-3} end

-- Why no jobs are to be made, if so: the limits of the tree, files, lanes.
local function refusal()
  local limits, u = r[14], redis.call('HMGET', record(root), 'limits', 'tree', 'tree_usage')
  limits = u[1] or limits
  local most, deepest = tonumber(string.match(limits, '"tree":(%d+)')), tonumber(string.match(limits, '"depth":(%d+)'))
  if tonumber(u[2] or 0) + jobs > most then return {-1, 'too-many-steps', 'A job may have ' .. most .. ' jobs below it, and has ' .. (u[2] or 0) .. '.'} end
  if depth > deepest then return {-1, 'too-many-steps', 'Jobs may be steps of steps ' .. deepest .. ' deep.'} end
  if u[3] and string.find(limits, '"budget":', 1, true) then
    local used_up = cjson.decode(u[3])
    for figure, limit in pairs(cjson.decode(limits).budget) do
      local n = tonumber(used_up[figure]) or 0
      if n >= limit then return {-1, 'over-budget', 'The jobs of this tree have used ' .. n .. ' of ' .. figure .. ', and may use ' .. limit .. '.'} end
    end
  end
  for _, n in ipairs(fresh) do
    local a = 9 * n + 1
    local kind, files = ARGV[a], ARGV[a + 7]
    if files ~= '' and (kind == 'child' or kind == 'detached') then
      for each in pairs(cjson.decode(files)) do
        if not theirs(file(each), tenant) then return {-1, 'file-not-found', 'There is no file ' .. string.sub(each, 1, 64) .. '.'} end
      end
    end
    if kind == 'detached' then
      local lane = ARGV[a + 4] .. '.' .. ARGV[a + 3]
      local ahead = redis.call('ZCARD', P .. 'wait:' .. lane) - redis.call('ZCARD', tree_of(lane))
      if ahead >= tonumber(ARGV[7]) then return {-1, 'queue-full', 'The lane of the detached job is full.'} end
    end
  end
end

local why = jobs > 0 and refusal()
if why then return why end
if #marked > 0 then redis.call('HSET', k, unpack(marked)) end

-- Where the steps of this tree stand in their lanes: in the place of its root. The listing knows when it was submitted to the microsecond; when it was queued
-- later is known to the millisecond, and nothing that came in that one is to stand behind its steps.
local function place_of_steps()
  if root ~= parent then return r[8] end
  return not r[8] and r[9] == r[10] and redis.call('ZSCORE', P .. 'idx:' .. tenant, parent) or int((r[8] or r[9]) + 1)
end

-- What the new steps write to keys that they share: a command for each key, not for each step.
local waiting, trees, entries, events, ended, place = {}, {}, {}, {}, {}, nil

local function put(all, key, ...)
  all[key] = all[key] or {}
  for _, each in ipairs({...}) do table.insert(all[key], each) end
end

-- {name, value, …} of these that are there.
local function given(...)
  local all, out = {...}, {}
  for i = 1, #all, 2 do
    if all[i + 1] and all[i + 1] ~= '' then out[#out + 1], out[#out + 2] = all[i], all[i + 1] end
  end
  return unpack(out)
end

local function make_job(a, key, known)
  local kind, mark, model, queue, input, policy, json = ARGV[a], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
  local id = 'job_' .. string.sub(parent, 5, 16) .. string.sub(redis.sha1hex(parent .. ' ' .. key .. ' ' .. epoch), 1, 20)
  local lane = queue .. '.' .. model
  redis.call('SADD', P .. 'lanes', lane)
  -- It is there only when the store has forgotten its entry.
  if redis.call('EXISTS', record(id)) == 1 then redis.call('DEL', record(id)) end
  local files = {}
  for each in pairs(json ~= '' and cjson.decode(json) or {}) do files[#files + 1] = each end
  if kind == 'detached' then
    new_job(id, tenant, model, queue, priority, input, policy, at, 0, files, given('tags', r[11], 'files', json))
    return 'd ' .. epoch .. ' ' .. int(t) .. ' ' .. mark .. ' "' .. id .. '"'
  end
  -- One that is made anew takes over what the one before it had finished.
  local before = string.match(known or '', '^c (%S+)')
  place = place or place_of_steps()
  kids = kids + 1
  local kid = string.format('%07d', kids)
  local origin, shown = 'key_' .. redis.sha1hex((r[13] or parent) .. ' ' .. key), kids <= SHOWN
  create(id, tenant, model, queue, priority, input, int(t), false, 'policy', policy, 'flow', 1, 'expires', 'tree', 'parent', parent, 'root', root,
    'step', key, 'depth', int(depth), 'place', place, 'kid', kid, 'origin', origin, given('stream', ARGV[a + 8], 'shown', shown and '1', 'tags', r[11], 'files', json, 'retry_of', before))
  if before then take_over(before, id, again == tonumber(epoch)) end
  for _, each in ipairs(files) do bind_file(each, id) end
  local limit, score = start_limit(policy, 0), place_in_tree(priority, place)
  if limit then redis.call('ZADD', P .. 'deadline', int(t + limit), id) end
  put(waiting, P .. 'wait:' .. lane, score, id)
  put(trees, lane, score, in_tree(id, kid))
  if shown then events[#events + 1] = step_entry(attempt, t, key, id, model, 'queued') end
  return 'c ' .. id .. ' ' .. epoch .. ' ' .. int(t) .. ' ' .. mark
end

local timed = false

local function make_timer(a, key)
  local kind, mark, due, value = ARGV[a], ARGV[a + 2], int(t + ARGV[a + 3]), nil
  kids = kids + 1
  if kind == 'sleep' then
    redis.call('ZADD', timers_of(parent), due, key)
    return 't ' .. due .. ' ' .. int(t) .. ' ' .. mark
  end
  value = redis.call('HGET', journal, 'v:' .. string.sub(key, 3))
  if value and string.sub(value, 1, 1) == '!' then
    redis.call('HDEL', journal, 'v:' .. string.sub(key, 3))
    value = nil
  end
  -- The answer may have come before the question.
  if value then
    ended[#ended + 1] = key
    redis.call('HINCRBY', k, 'signals', -1)
  else
    redis.call('ZADD', timers_of(parent), due, key)
  end
  timed = true
  return 'w ' .. due .. ' ' .. int(t) .. ' ' .. mark .. ' {"ask":' .. ARGV[a + 5] .. ',"schema":' .. ARGV[a + 6] .. '}'
end

for _, n in ipairs(fresh) do
  local a, key = 9 * n + 1, keys[n]
  local make = (ARGV[a] == 'child' or ARGV[a] == 'detached') and make_job or make_timer
  entries[#entries + 1], entries[#entries + 2] = key, make(a, key, found[n])
end
for key, scores in pairs(waiting) do redis.call('ZADD', key, unpack(scores)) end
for lane, scores in pairs(trees) do
  redis.call('ZADD', tree_of(lane), unpack(scores))
  wake(lane)
end
if #fresh > 0 then
  redis.call('HSET', journal, unpack(entries))
  redis.call('HSET', k, 'kids', int(kids))
  if jobs > 0 then redis.call('HINCRBY', record(root), 'tree', jobs) end
end
if timed then show_asks(parent, k) end
close_timers(parent, k, t, epoch)
if #ended > 0 then redis.call('RPUSH', ends_of(parent), unpack(ended)) end

-- The answer.
local out, open, room = {1, seen, 0, t}, true, ROOM
local now_ended = redis.call('LLEN', ends_of(parent))
if seen < 0 then
  seen = now_ended - #ended
  out[2] = seen
end
local known = #keys > 0 and redis.call('HMGET', journal, unpack(keys)) or {}
for n, key in ipairs(keys) do
  local state, data, usage, id, due = result_of(journal, key, known[n] or '', t)
  if state ~= 'pending' then open = false end
  if room <= 0 and #data > 0 then state, data, usage = 'pending', 'more', '' end
  room = room - #data
  local o = #out
  out[o + 1], out[o + 2], out[o + 3], out[o + 4], out[o + 5], out[o + 6] = key, state, data, usage, id, due
end

-- It waits, or goes on.
local wake_at, timer = seen + need, redis.call('ZRANGE', timers_of(parent), 0, 0, 'WITHSCORES')[2]
local until_ = math.min(tonumber(ARGV[3]) > 0 and tonumber(ARGV[3]) or math.huge, tonumber(timer or math.huge))
if need > 0 and open and now_ended < wake_at and until_ > t then
  out[3] = 1
  redis.call('HSET', k, 'status', 'waiting', 'wake_at', int(wake_at))
  if until_ < math.huge then
    redis.call('HSET', k, 'until', int(until_))
    redis.call('ZADD', P .. 'due', int(until_), parent)
  end
  if status ~= 'waiting' then
    redis.call('HINCRBY', k, 'version', 1)
    if redis.call('HINCRBY', k, 'waits', 1) <= SHOWN then
      local names, asks = {}, redis.call('HGET', k, 'asks')
      for name in string.gmatch(asks or 'steps', '%S+') do names[#names + 1] = cjson.encode(name) end
      events[#events + 1] = entry(attempt, t, 'waiting', '{"for":[' .. table.concat(names, ',') .. '],"until":' .. (until_ < math.huge and int(until_) or 'null') .. '}')
    end
  end
elseif status == 'waiting' then
  go_on(parent, k)
end
if #events > 0 then
  log(parent, events)
  note(parent, 'events')
end
return out
