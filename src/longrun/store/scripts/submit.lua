-- Accept a job: record, index, idempotency key, place in the lane and ticket, or nothing at all.
-- ARGV: id, tenant, model, queue, priority, input, delay ms, lane limit, start_within ms ('' = none), idempotency key ('' = none),
--       fingerprint, ids of the files it needs with spaces between them, then pairs of further fields (policy, tags, metadata, hook, files).
-- Returns {'new', position, created ms} | {'replay', id} | {'reused', id} | {'full', depth} | {'nofile', file id} (not there, gone, or another tenant's). Sent twice: the second is {'new', …} again, with the
-- position the job has by then (0 = it waits no longer).
local id, tenant, model, queue, priority, input = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local delay, limit, start_within, idem = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]
local k, lane = record(id), queue .. '.' .. model
local wait = P .. 'wait:' .. lane
local function place() return (redis.call('ZRANK', wait, id) or -1) + 1 end

local created = redis.call('HGET', k, 'created')
if created then return {'new', place(), created} end
local bound = key_of(tenant, idem)
local again = repeated(bound, ARGV[11])
if again then return again end
local depth = redis.call('ZCARD', wait)
if depth >= limit then return {'full', limit} end

local at, files = instant(), {}
local t = math.floor(at)
for each in string.gmatch(ARGV[12], '%S+') do
  local r = redis.call('HMGET', file(each), 'tenant', 'gone', 'expires')
  if r[1] ~= tenant or r[2] or (r[3] and tonumber(r[3]) <= t) then return {'nofile', each} end
  files[#files + 1] = each
end
-- The first write of the script: with a full store it is refused, and nothing has changed.
local stamp, due = int(t), delay > 0 and int(t + delay)
create(id, tenant, model, queue, priority, input, stamp, due, unpack(ARGV, 13))
for _, each in ipairs(files) do bind_file(each, id) end
redis.call('ZADD', P .. 'idx:' .. tenant, moment(at), id)
if bound then
  redis.call('SET', bound, id .. ' ' .. ARGV[11])
  redis.call('HSET', k, 'idem', bound)
end
if start_within ~= '' then redis.call('ZADD', P .. 'deadline', int(t + delay + tonumber(start_within)), id) end
if due then
  redis.call('ZADD', P .. 'due', due, id)
  return {'new', 0, stamp}
end
priority = tonumber(priority)
redis.call('ZADD', wait, place_in_lane(priority, at), id)
-- A lane in which jobs wait is known already.
if depth == 0 then redis.call('SADD', P .. 'lanes', lane) end
push_new({id}, model, queue, priority)
return {'new', place(), stamp}
