-- Send a webhook again, at once, with the schedule begun anew. ARGV: id, tenant. Returns {1} | {0} (not there) | {-1} (its job is gone).
local message, d, t = ARGV[1], delivery(ARGV[1]), now()
local r = redis.call('HMGET', d, 'tenant', 'status', 'job', 'tries')
if r[1] ~= ARGV[2] then return {0} end
if r[3] ~= '' then
  local k = subject(r[3])
  local j = redis.call('HMGET', k, 'status', 'gone', 'expires')
  if not j[1] or j[2] or (j[3] and tonumber(j[3]) <= t) then return {-1} end
  if r[2] ~= 'pending' then
    -- As at first: the result is kept until this has an end too.
    redis.call('HINCRBY', k, 'unsettled', 1)
    redis.call('HDEL', k, 'expires')
    redis.call('ZREM', P .. (is_batch(r[3]) and 'batch-due' or 'expire'), r[3])
  end
end
redis.call('HSET', d, 'status', 'pending', 'base', r[4])
redis.call('HDEL', d, 'finished', 'reason')
redis.call('ZADD', P .. 'delivery-due', int(t), message)
redis.call('PUBLISH', P .. 'hooks', 'due')
return {1}
