-- Interrupt a worker that waits for tickets of other lanes than those it has room for now. ARGV: worker (its identity), life ms. Returns 1.
pass_when_full()
local list = P .. 'wake:@' .. ARGV[1]
redis.call('LPUSH', list, '1')
redis.call('PEXPIRE', list, ARGV[2])
return 1
