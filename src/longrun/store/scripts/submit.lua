-- Accept a job: record, index, idempotency key, place in the lane and ticket, or nothing at all.
-- ARGV: id, tenant, model, queue, priority, input, delay ms, lane limit, start_within ms ('' = none), idempotency key ('' = none),
--       fingerprint, ids of the files it needs with spaces between them, then pairs of further fields (policy, tags, metadata, hook, files).
-- Returns {'new', position, created ms} | {'replay', id} | {'reused', id} | {'full', depth} | {'nofile', file id} (not there, gone, or another tenant's). Sent twice: the second is {'new', …} again, with the
-- position the job has by then (0 = it waits no longer).
local id, tenant, model, queue, priority, input = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local delay, limit, start_within, idem = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]
local k, wait = record(id), P .. 'wait:' .. queue .. '.' .. model
local function place() return (redis.call('ZRANK', wait, id) or -1) + 1 end

local created = redis.call('HGET', k, 'created')
if created then return {'new', place(), created} end
local bound
if idem ~= '' then
  bound = P .. 'idem:' .. tenant .. ':' .. idem
  local held = redis.call('GET', bound)
  if held then
    local other, print = string.match(held, '^(%S+) (%S+)$')
    return {print == ARGV[11] and 'replay' or 'reused', other}
  end
end
if redis.call('ZCARD', wait) >= limit then return {'full', limit} end

local t, files = now(), {}
for each in string.gmatch(ARGV[12], '%S+') do
  local r = redis.call('HMGET', file(each), 'tenant', 'gone', 'expires')
  if r[1] ~= tenant or r[2] or (r[3] and tonumber(r[3]) <= t) then return {'nofile', each} end
  files[#files + 1] = each
end
-- The first write of the script: with a full store it is refused, and nothing has changed.
redis.call('HSET', k, 'tenant', tenant, 'model', model, 'queue', queue, 'priority', priority, 'input', input,
  'status', 'scheduled', 'version', 1, 'attempt', 0, 'created', int(t), unpack(ARGV, 13))
for _, each in ipairs(files) do bind_file(each, id) end
redis.call('ZADD', P .. 'idx:' .. tenant, moment(), id)
if bound then
  redis.call('SET', bound, id .. ' ' .. ARGV[11])
  redis.call('HSET', k, 'idem', bound)
end
if start_within ~= '' then redis.call('ZADD', P .. 'deadline', int(t + delay + tonumber(start_within)), id) end
if delay > 0 then
  redis.call('HSET', k, 'due', int(t + delay))
  redis.call('ZADD', P .. 'due', int(t + delay), id)
  return {'new', 0, int(t)}
end
redis.call('HSET', k, 'status', 'queued', 'queued', int(t))
redis.call('ZADD', wait, place_in_lane(tonumber(priority), instant()), id)
redis.call('SADD', P .. 'lanes', queue .. '.' .. model)
push(id, model, queue, tonumber(priority), false)
return {'new', place(), int(t)}
