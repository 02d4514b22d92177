-- Push the tickets of jobs again whose ticket was popped but not claimed for a while. ARGV: age ms, most jobs (<= 100). Returns how many.
pass_when_full()
local n = 0
for _, id in ipairs(overdue('doubt', now() - ARGV[1], ARGV[2])) do
  redis.call('ZREM', P .. 'doubt', id)
  n = n + push_again(id)
end
return n
