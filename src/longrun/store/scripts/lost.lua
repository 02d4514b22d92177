-- Take the claims of a worker that is known to be dead, without waiting for its leases. ARGV: worker (its identity), cursor ('0' at first), most (<= 100).
-- Returns {cursor ('0' = all were looked at), id, status after, …}. The scan walks all claims a piece at a time; one that was there all along is met.
pass_when_full()
local t, out = now(), {}
local scan = redis.call('ZSCAN', P .. 'lease', ARGV[2], 'COUNT', ARGV[3])
out[1] = scan[1]
for i = 1, #scan[2], 2 do
  local id = scan[2][i]
  local k = record(id)
  local r = redis.call('HMGET', k, 'worker', 'status', 'attempt')
  if r[1] == ARGV[1] and (r[2] == 'running' or r[2] == 'waiting' or r[2] == 'canceling') then
    take_back(id, k, t, r[3], out)
  end
end
if scan[1] == '0' then forget(ARGV[1]) end
return out
