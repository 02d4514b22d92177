-- Take queued jobs. ARGV: nonce, worker (its identity), its name, device, lease ms, groups of suspects that may be taken (each between spaces; '*' = all),
-- 1 (other jobs run in this worker) or 0, those of them that one more crash would end (with spaces between), id, id, … (<= 100).
-- A suspect of another group stays where it is, {0, 'suspect'}: it is queued until a worker has a runner for its group.
-- `flow` is '' for a job that has nothing to do with steps, else `<epoch> <again> <origin or -> <ran ms> <journal 0|1> <child 0|1>`.
-- Returns for each {attempt, input, policy, suspect, errors, created, claimed at, files, priority, flow} | {0, status} | its error. The nonce makes a claim that was sent twice
-- get its own answer again.
local nonce, lease, groups, t = ARGV[1], tonumber(ARGV[5]), ARGV[6], now()
local worker = '{"worker":' .. cjson.encode(ARGV[3])
local begun = worker .. ',"device":' .. cjson.encode(ARGV[4]) .. ',"nonce":' .. cjson.encode(nonce) .. ',"at":' .. int(t) .. ',"queued":'
local started = worker .. ',"resumed":false}'
local deadlines = redis.call('ZCARD', P .. 'deadline') > 0
-- A ticket from the tail was popped, so every ticket pushed to its list before it has been: what overtaken.lua goes by. The latest such job, by list.
local marks = {}
-- How many are claimed here, and those of them that one more crash would end.
local claimed, last = 0, {}

local function claim(id)
  local k = record(id)
  local r = redis.call('HMGET', k, 'status', 'nonce', 'attempt', 'input', 'policy', 'suspect', 'errors', 'created', 'queue', 'model', 'priority',
    'queued', 'repushed', 'tenant', 'hook', 'files', 'version', 'log_bytes', 'started', 'flow')
  local attempt, at, flow = r[3], r[19], r[20] and flow_of(id, k)
  if not (r[1] == 'running' and r[2] == nonce) then
    if r[1] ~= 'queued' then return {0, r[1] or 'gone'} end
    local deadline = deadlines and redis.call('ZSCORE', P .. 'deadline', id)
    local late = deadline and tonumber(deadline) <= t
    -- Nothing begins that nobody can join: reap.lua has not come to it yet.
    if late or flow and flow.is_over() then return {0, end_queued(id, k, t, attempt, late)} end
    local lane = r[9] .. '.' .. r[10]
    if r[6] and groups ~= '*' and not string.find(groups, ' ' .. r[6] .. ' ', 1, true) then
      redis.call('HSET', suspects_of(lane), id, r[6])
      return {0, 'suspect'}
    end
    attempt, at = int(attempt + 1), int(t)
    local first, to
    if flow and flow.silent then
      first, to = entry(attempt, t, 'started', flow.slept and worker .. ',"resumed":true}' or started), {}
    else
      first, to = entry(attempt, t, 'started', started), listeners(r[14], r[15], 'job.started')
    end
    zadd(P .. 'lease', int(t + lease), id)
    redis.call('HSET', k, 'status', 'running', 'attempt', attempt, 'version', int(r[17] + 1), 'started', at, 'worker', ARGV[2], 'nonce', nonce,
      'log_bytes', int((r[18] or 0) + #first), 'a:' .. attempt, begun .. r[12] .. '}')
    zrem(P .. 'wait:' .. lane, id)
    if r[6] then redis.call('HDEL', suspects_of(lane), id) end
    if attempt ~= '1' or r[13] then
      redis.call('HDEL', k, 'due', 'error', 'local', 'beside', 'repushed', 'made')
      -- That of one which was let go stays: what runs again of it reports none.
      if not (flow and flow.slept) then redis.call('HDEL', k, 'progress', 'progress_at') end
    end
    if flow then flow.take(lane) end
    claimed = claimed + 1
    if at_its_last(id, r[6]) then last[#last + 1] = id end
    count('times', r[10], 'queue', (t - r[12]) * 1000)
    if deadline then redis.call('ZREM', P .. 'deadline', id) end
    if not (r[13] or r[6] or flow) then
      local list = lane .. ':' .. int(9 - r[11])
      marks[list] = math.max(marks[list] or 0, tonumber(r[12]))
    end
    redis.call('RPUSH', P .. 'ev:' .. id, first)
    note(id, 'started')
    notify(to, id, k, t, r[14], attempt, nonce, 'job.started', '{"status":"running","attempt":' .. attempt .. '}')
  end
  return {tonumber(attempt), r[4], r[5], r[6] or '', tonumber(r[7] or 0), tonumber(r[8]), at, r[16] or '', tonumber(r[11]), flow and flow.text or ''}
end

pass_when_full()
local out = together(9, #ARGV, 1, function(i) return claim(ARGV[i]) end)
for list, queued in pairs(marks) do redis.call('ZADD', P .. 'mark', 'GT', int(queued), list) end
-- One that does not run by itself is not to fail for what the others do to the worker: see take_back.
local function beside(id)
  if redis.call('HGET', record(id), 'status') == 'running' then redis.call('HSET', record(id), 'beside', 1) end
end
if claimed > 0 then for id in string.gmatch(ARGV[8], '%S+') do beside(id) end end
if claimed > 1 or ARGV[7] == '1' then for _, id in ipairs(last) do beside(id) end end
redis.call('ZREM', P .. 'doubt', unpack(ARGV, 9))
return out
