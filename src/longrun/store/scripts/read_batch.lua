-- One batch. ARGV: id, tenant ('' = whoever's it is), names of fields. Returns {1, values} | {0} (not there, or another tenant's: the same answer) | {-1} (gone).
local b = batch_key(ARGV[1])
local r = redis.call('HMGET', b, 'tenant', 'gone', 'expires')
if not r[1] or (ARGV[2] ~= '' and r[1] ~= ARGV[2]) then return {0} end
if r[2] or (r[3] and tonumber(r[3]) <= now()) then return {-1} end
return {1, redis.call('HMGET', b, unpack(ARGV, 3))}
