-- A stopping worker puts tickets back that it popped and did not claim. ARGV: ids (<= 100). Returns how many.
pass_when_full()
local n = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', P .. 'doubt', id) == 1 then n = n + push_again(id) end
end
return n
