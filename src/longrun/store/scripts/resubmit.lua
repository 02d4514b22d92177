-- Retry or redrive: a new job with the input and options of an ended one.
-- ARGV: old id, tenant, new id.
-- Returns {'new', id} | {'none'} | {'gone'} | {'refused', status}. Sent twice, or asked twice: the same new job.
local old, tenant, id = record(ARGV[1]), ARGV[2], ARGV[3]
local r = redis.call('HMGET', old, 'tenant', 'gone', 'status', 'retried_by', 'expires')
if r[1] ~= tenant then return {'none'} end
local t = now()
if r[2] or (r[5] and tonumber(r[5]) <= t) then return {'gone'} end
if r[4] then return {'new', r[4]} end
if r[3] ~= 'failed' and r[3] ~= 'canceled' and r[3] ~= 'expired' then return {'refused', r[3]} end

local f = redis.call('HMGET', old, 'model', 'queue', 'priority', 'input', 'policy', 'tags', 'metadata', 'hook', 'files')
if not f[4] then return {'gone'} end
local k = record(id)
redis.call('HSET', k, 'tenant', tenant, 'model', f[1], 'queue', f[2], 'priority', f[3], 'input', f[4], 'policy', f[5],
  'version', 0, 'attempt', 0, 'created', int(t), 'retry_of', ARGV[1])
if f[6] then redis.call('HSET', k, 'tags', f[6]) end
if f[7] then redis.call('HSET', k, 'metadata', f[7]) end
if f[8] then redis.call('HSET', k, 'hook', f[8]) end
if f[9] then
  -- Deleted ones too: they are kept as long as the old job, and now the new one, needs them.
  redis.call('HSET', k, 'files', f[9])
  for each in pairs(cjson.decode(f[9])) do bind_file(each, id) end
end
redis.call('HSET', old, 'retried_by', id)
redis.call('HINCRBY', old, 'version', 1)
redis.call('ZREM', P .. 'dead:' .. tenant, ARGV[1])
redis.call('ZADD', P .. 'idx:' .. tenant, moment(), id)
local policy = cjson.decode(f[5])
local limit = policy.start_within
if type(limit) ~= 'number' then limit = policy.total_timeout end
if type(limit) == 'number' then redis.call('ZADD', P .. 'deadline', int(t + limit * 1000), id) end
enqueue(id, k, false)
note(ARGV[1], 'retried')
return {'new', id}
