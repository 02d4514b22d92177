-- Erase a file: it is hidden at once, its bytes go when no job needs them. ARGV: id, tenant, tombstone ms, nonce.
-- Returns {1} | {0} (not there) | {-1} (already gone). The nonce makes a deletion that was sent twice get its own answer again.
local id, k, t = ARGV[1], file(ARGV[1]), now()
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires')
if r[1] ~= ARGV[2] then return {0} end
if r[2] then return {r[2] == ARGV[4] and 1 or -1} end
pass_when_full()
local late = r[3] and tonumber(r[3]) <= t
hide_file(id, t, ARGV[3], late and '1' or ARGV[4])
return {late and -1 or 1}
