-- Ask a job to stop. ARGV: id, tenant. Returns {status after} | {'none'} | {'gone'}.
local k = record(ARGV[1])
local r, refusal = theirs(k, ARGV[2], 'status', 'attempt', 'worker')
if not r then return refusal end
pass_when_full()
return {stop(ARGV[1], k, now(), r[4], r[5], r[6])}
