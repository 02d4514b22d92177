-- A worker lets parents go that wait: each sleeps, or is queued at once when what it waits for has come. ARGV, for each (<= 100): id, fence, ms that its code has
-- run, usage JSON of the attempt ('' = none). One that does not wait is given back, or ends if it is to stop.
-- Returns for each {1, status} | {0, status} (stale) | its error. Sent twice: the same answer, no second effect.
local t = now()

local function let_go(id, fence, ran, usage)
  local k = record(id)
  local mine, status, attempt = has_claim(k, fence)
  if not mine then return {own_end(k, fence) and 1 or 0, status or 'gone'} end
  redis.call('HSET', k, 'ran', int(ran))
  add_usage(k, attempt, t, usage)
  return {1, hand_back(id, k, t, 'release')}
end

pass_when_full()
return together(1, #ARGV, 4, function(i) return let_go(unpack(ARGV, i, i + 3)) end)
