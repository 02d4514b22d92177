-- Send a webhook again, at once, with the schedule begun anew. ARGV: id, tenant. Returns {'sent'} | {'none'} | {'gone'} (its job or batch is).
local message, d, t = ARGV[1], delivery(ARGV[1]), now()
local r, refusal = theirs(d, ARGV[2], 'status', 'job', 'tries')
if not r then return refusal end
local job = r[5]
if job ~= '' then
  local k = subject(job)
  if not theirs(k, ARGV[2]) then return {'gone'} end
  if r[4] ~= 'pending' then
    -- As at first: the result is kept until this has an end too.
    redis.call('HINCRBY', k, 'unsettled', 1)
    redis.call('HDEL', k, 'expires')
    redis.call('ZREM', P .. (is_batch(job) and 'batch-due' or 'expire'), job)
  end
end
redis.call('HSET', d, 'status', 'pending', 'base', r[6])
redis.call('HDEL', d, 'finished', 'reason')
redis.call('ZADD', P .. 'delivery-due', int(t), message)
redis.call('PUBLISH', P .. 'hooks', 'due')
return {'sent'}
