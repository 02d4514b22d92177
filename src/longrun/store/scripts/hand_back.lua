-- A worker gives a claimed job back. ARGV: id, attempt, crash|suspect|release|unstarted, error JSON of the attempt ('' = none),
-- group of a suspect ('' = itself), usage JSON of the attempt ('' = none).
-- Returns {1, status} | {0, status} (stale).
local id, k = ARGV[1], record(ARGV[1])
local mine, status = owns(k, ARGV[2])
if not mine then
  local done = redis.call('HGET', k, 'z:' .. ARGV[2])
  return {done and 1 or 0, status or 'gone'}
end
pass_when_full()
add_usage(k, ARGV[2], now(), ARGV[6])
return {1, hand_back(id, k, now(), ARGV[3], ARGV[4] ~= '' and ARGV[4] or nil, ARGV[5] ~= '' and ARGV[5] or nil)}
