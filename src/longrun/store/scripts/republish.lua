-- Push the tickets of jobs again whose ticket was popped but not claimed for a while. ARGV: age ms, most jobs (<= 100). Returns how many.
pass_when_full()
local t, n = now(), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'doubt', '-inf', int(t - ARGV[1]), 'LIMIT', 0, ARGV[2])) do
  local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority')
  redis.call('ZREM', P .. 'doubt', id)
  if r[1] == 'queued' then
    push(id, r[2], r[3], tonumber(r[4]), true)
    n = n + 1
  end
end
return n
