-- A failed attempt is followed by another after a delay. ARGV: id, fence, delay ms, error JSON, usage JSON of the attempt ('' = none).
-- Returns {1, status} | {0, status} (stale).
local id, k, fence = ARGV[1], record(ARGV[1]), ARGV[2]
local mine, status, attempt = owns(k, fence)
if not mine then return {own_end(k, fence) == 'retrying' and 1 or 0, status or 'gone'} end
pass_when_full()
local t = now()
add_usage(k, attempt, t, ARGV[5])
if status == 'canceling' then return {1, end_canceled(id, k, t, attempt)} end
local due = int(t + ARGV[3])
end_attempt(k, attempt, t, 'retrying', ARGV[4])
redis.call('HINCRBY', k, 'errors', 1)
redis.call('HINCRBY', k, 'version', 1)
redis.call('HSET', k, 'status', 'retrying', 'due', due, 'error', ARGV[4])
redis.call('HDEL', k, 'nonce')
redis.call('ZREM', P .. 'lease', id)
redis.call('ZADD', P .. 'due', due, id)
event(id, attempt, t, 'retrying', '{"reason":' .. ARGV[4] .. ',"next_attempt_at":' .. due .. '}')
note(id, 'retrying')
local r = redis.call('HMGET', k, 'tenant', 'hook', 'policy', 'flow', 'parent')
limit_wait(id, k, r[3])
if r[4] then
  -- What failed is done again by the next attempt, and its running time begins anew.
  redis.call('HINCRBY', k, 'epoch', 1)
  redis.call('HDEL', k, 'ran')
end
notify(r[5] and {} or listeners(r[1], r[2], 'job.retrying'), id, k, t, r[1], attempt, string.match(fence, '/(.*)'), 'job.retrying',
  '{"status":"retrying","attempt":' .. attempt .. ',"next_attempt_at":' .. due .. ',"error":' .. ARGV[4] .. '}')
return {1, 'retrying'}
