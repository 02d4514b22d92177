-- Erase an ended job and leave a tombstone. ARGV: id, tenant, tombstone ms. Returns {1} | {0} (not there) | {-1} (already gone) | {-2} (not ended).
local k = record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'status', 'expires')
if r[1] ~= ARGV[2] then return {0} end
if r[2] then return {-1} end
if not TERMINAL[r[3]] then return {-2} end
local t = now()
local late = r[4] and tonumber(r[4]) <= t
bury(ARGV[1], k, t, ARGV[3], FILES_AT_ONCE)
return {late and -1 or 1}
