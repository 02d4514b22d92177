-- A stopping worker puts tickets back that it popped and did not claim. ARGV: ids (<= 100). Returns how many.
pass_when_full()
local n = 0
for _, id in ipairs(ARGV) do
  local r = redis.call('HMGET', record(id), 'status', 'model', 'queue', 'priority')
  if redis.call('ZREM', P .. 'doubt', id) == 1 and r[1] == 'queued' then
    push(id, r[2], r[3], tonumber(r[4]), true)
    n = n + 1
  end
end
return n
