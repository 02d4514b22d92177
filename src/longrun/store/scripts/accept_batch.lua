-- Accept a batch whose inputs lie in a file: record, index, idempotency key, or nothing at all. `feed_batch` makes the jobs.
-- ARGV: id, tenant, idempotency key ('' = none), fingerprint, id of the file, items, ms until a chore looks, policy, then pairs of further fields
-- (model, queue, priority, tags, metadata, hook, key).
-- Returns {'new'} | {'replay', id} | {'reused', id} | {'nofile', file id}. Sent twice: the second is {'new'} again.
local id, tenant = ARGV[1], ARGV[2]
local b = batch_key(id)
if redis.call('EXISTS', b) == 1 then return {'new'} end
local bound = key_of(tenant, ARGV[3])
local again = repeated(bound, ARGV[4])
if again then return again end
if not theirs(file(ARGV[5]), tenant) then return {'nofile', ARGV[5]} end
local at, within = instant(), start_limit(ARGV[8], 0)
local t = math.floor(at)
-- The first write of the script: with a full store it is refused, and nothing has changed.
redis.call('HSET', b, 'tenant', tenant, 'created', int(t), 'status', 'open', 'total', ARGV[6], 'left', ARGV[6], 'fed', 0, 'offset', 0,
  'policy', ARGV[8], unpack(ARGV, 9))
if within then redis.call('HSET', b, 'within', int(within)) end
bind_file(ARGV[5], id)
redis.call('ZADD', P .. 'batches:' .. tenant, moment(at), id)
redis.call('ZADD', P .. 'batch-due', int(t + ARGV[7]), id)
if bound then
  redis.call('SET', bound, id .. ' ' .. ARGV[4])
  redis.call('HSET', b, 'idem', bound)
end
return {'new'}
