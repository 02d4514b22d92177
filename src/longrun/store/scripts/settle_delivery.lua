-- What became of a try. ARGV: id, fence (`<try>/<nonce>` of its claim), outcome, delay ms, JSON of the try, reason, tombstone ms.
-- Outcomes: delivered | failed (given up) | disabled (given up, and its endpoint gets no more) | retry (after the delay) | release (not sent, not counted).
-- Returns {1} | {0} (stale: another try has begun, if only of the same number after the store forgot the first, or it has an end). Sent twice: the same answer, no second effect.
local message, d, t = ARGV[1], delivery(ARGV[1]), now()
local r = redis.call('HMGET', d, 'status', 'tries', 'told', 'tenant', 'endpoint', 'nonce')
if r[3] == ARGV[2] then return {1} end
local try, nonce = string.match(ARGV[2], '^(%d+)/(.*)')
if r[1] ~= 'pending' or r[2] ~= try or r[6] ~= nonce then return {0} end
pass_when_full()
local outcome = ARGV[3]
redis.call('HSET', d, 'told', ARGV[2])
if outcome == 'release' then
  -- The number of the try is a fence and is never used again; the schedule does not count it.
  redis.call('HINCRBY', d, 'base', 1)
else
  redis.call('HSET', d, 'try:' .. try, ARGV[5])
end
if outcome == 'retry' or outcome == 'release' then
  redis.call('ZADD', P .. 'delivery-due', int(t + ARGV[4]), message)
  return {1}
end
if outcome == 'disabled' and r[5] ~= '' then
  local hooks = P .. 'hooks:' .. r[4]
  local held = redis.call('HGET', hooks, r[5])
  if held then
    local endpoint = cjson.decode(held)
    endpoint.disabled_reason = ARGV[6]
    redis.call('HSET', hooks, r[5], cjson.encode(endpoint))
  end
end
settle(message, d, t, outcome == 'delivered' and 'delivered' or 'failed', ARGV[6] ~= '' and ARGV[6] or nil, ARGV[7])
return {1}
