-- One record without its input. ARGV: id, tenant, largest output in bytes that is wanted ('' = any).
-- Returns {1, position, values of FIELDS} | {0} (not there, or another tenant's: the same answer) | {-1} (gone).
local id, k = ARGV[1], record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', 'status', 'queue', 'model')
if r[1] ~= ARGV[2] then return {0} end
-- Expired before a chore got to it: gone all the same.
if r[2] or (r[3] and tonumber(r[3]) <= now()) then return {-1} end
local position = 0
if r[4] == 'queued' then position = (redis.call('ZRANK', P .. 'wait:' .. r[5] .. '.' .. r[6], id) or -1) + 1 end
-- A large one is left out before it is read, and asked for as a field that no record has.
local wanted = FIELDS
if ARGV[3] ~= '' and redis.call('HSTRLEN', k, 'output') > tonumber(ARGV[3]) then
  wanted = {}
  for i, name in ipairs(FIELDS) do wanted[i] = name == 'output' and 'nothing' or name end
end
return {1, position, redis.call('HMGET', k, unpack(wanted))}
